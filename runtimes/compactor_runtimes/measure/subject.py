"""What a worker measures: an open candidate with its samples, raw and decoded."""

from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from compactor_runtimes.measure.measurement import Fed, Job, Scope

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Feeds = dict[str, NDArray[Any]]


class Subject:
    """An open candidate with its samples: raw bytes at once, decoded feeds when first needed."""

    def __init__(self, job: Job) -> None:
        """Open the runtime; `load_s` covers the import of its libraries."""
        from compactor_runtimes.backends import has_threads, open_runtime

        begin = perf_counter_ns()
        candidate = job.candidate
        self.threads = job.threads if has_threads(candidate.runtime) else None
        self.runtime = open_runtime(
            candidate.runtime, Path(candidate.source), threads=self.threads, **candidate.options
        )
        self.load_s = (perf_counter_ns() - begin) / 1e9

        self.candidate = candidate
        self.raws: list[bytes] = []
        self.whole: Feeds = {}
        self.decoded: dict[int, list[Feeds]] = {}
        self.count = len(job.raw_samples) if candidate.fed is None else len(candidate.fed.keys)
        if candidate.fed is not None:
            self.decoded[1] = _fed(candidate.fed)
            return

        from compactor_runtimes.bundle.manifest import TextPre
        from compactor_runtimes.predict.answering import answers_from
        from compactor_runtimes.predict.answers import decoder_from
        from compactor_runtimes.predict.images import feeds_from

        self.to_feeds = feeds_from(candidate.pre, Path(candidate.assets))
        self.decode = decoder_from(candidate.post, candidate.labels)
        self.answer = answers_from(self.to_feeds, self.decode)
        self.is_ragged = any(isinstance(pre, TextPre) for pre in candidate.pre)

    def read(self, paths: list[str], *, at_least: int) -> None:
        """Read the raw samples, repeated so that a batch of `at_least` can be cut from them in one piece."""
        raws = [Path(path).read_bytes() for path in paths]
        self.raws = raws * -(-at_least // len(raws))

    def work(self, scope: Scope) -> Callable[[int, int], object]:
        """What is timed in a scope, called with the index of the first sample and their number."""
        return self.compute if scope == "compute" else self.end_to_end

    def compute(self, index: int, size: int) -> None:
        """Run `size` decoded samples from `index` on; they lie ready, nothing is copied."""
        if size not in self.decoded:
            self.decoded[size] = self._decode_all(size)
        self.runtime.run(self.fed(index, size))

    def fed(self, index: int, size: int) -> "Feeds":
        """The decoded samples from `index` on, as they go into the graph."""
        feeds = self.decoded[size]
        return feeds[index % len(feeds)]

    def _decode_all(self, size: int) -> "list[Feeds]":
        """Decode the batch of `size` samples from each start on.

        Images are views of one array. Texts are of different lengths, and a batch is padded to its own
        longest alone, as in serving: a single one not at all.
        """
        starts = range(len(self.raws) - size + 1)
        if self.is_ragged:
            return [self.to_feeds(self.raws[start : start + size]) for start in starts]
        self.whole = self.whole or self.to_feeds(self.raws)  # [N, ...] for each input
        return [
            {name: values[start : start + size] for name, values in self.whole.items()} for start in starts
        ]

    def rehearse(self, sizes: list[int]) -> None:
        """Answer one query of each kind and size, so that all memory of the model is in use."""
        for size in sizes:
            self.compute(0, size)
            if self.raws:
                self.end_to_end(0, size)

    def end_to_end(self, index: int, size: int) -> list[str]:
        """Turn `size` raw samples from `index` on into labels.

        Of an embedding it says how many numbers it has, of slots alone how many they are.
        """
        start = index % (len(self.raws) - size + 1)
        raws = self.raws[start : start + size]
        return [self.decode.say(one) for one in self.answer(raws, self.runtime.run)]


def _fed(fed: Fed) -> "list[Feeds]":
    """Read the arrays that stand for decoded samples."""
    from compactor_runtimes.errors import needs_extra

    with needs_extra("ort"):
        from safetensors.numpy import load_file
    tensors = load_file(fed.tensors)
    return [{name: tensors[key] for name, key in keys.items()} for keys in fed.keys]
