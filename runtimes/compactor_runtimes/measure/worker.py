"""The measured process: opens one candidate, then answers commands on stdin with one JSON line each.

Started as `python -m compactor_runtimes.measure.worker JOB.json [--cold-start]`; idle, it sleeps in a read.
"""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from compactor_runtimes.errors import CompactorError
from compactor_runtimes.measure.measurement import (
    Answer,
    BlockResult,
    Command,
    FirstAnswer,
    Job,
    Quit,
    ReadMemory,
    Ready,
    RunBlock,
)
from compactor_runtimes.measure.memory import read_memory

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Feeds = dict[str, NDArray[Any]]

Send = Callable[[Answer], None]
SAID = "error: "
"""Begins the last line of stderr of a worker whose exit code is that of an error of ours."""


class Subject:
    """An open candidate with its samples: raw bytes at once, decoded feeds when first needed."""

    def __init__(self, job: Job) -> None:
        """Open the runtime; `load_s` covers the import of its libraries."""
        from compactor_runtimes.backends import has_threads, open_runtime

        begin = perf_counter_ns()
        candidate = job.candidate
        threads = job.threads if has_threads(candidate.runtime) else None
        self.runtime = open_runtime(
            candidate.runtime, Path(candidate.source), threads=threads, **candidate.options
        )
        self.load_s = (perf_counter_ns() - begin) / 1e9

        from compactor_runtimes.bundle.manifest import TextPre
        from compactor_runtimes.predict.answering import answers_from
        from compactor_runtimes.predict.answers import decoder_from
        from compactor_runtimes.predict.images import feeds_from

        self.to_feeds = feeds_from(candidate.pre, Path(candidate.assets))
        self.decode = decoder_from(candidate.post, candidate.labels)
        self.answer = answers_from(self.to_feeds, self.decode)
        self.is_ragged = any(isinstance(pre, TextPre) for pre in candidate.pre)
        self.raws: list[bytes] = []
        self.whole: Feeds = {}
        self.decoded: dict[int, list[Feeds]] = {}

    def read(self, paths: list[str], *, at_least: int) -> None:
        """Read the raw samples, repeated so that a batch of `at_least` can be cut from them in one piece."""
        raws = [Path(path).read_bytes() for path in paths]
        self.raws = raws * -(-at_least // len(raws))

    def compute(self, index: int, size: int) -> None:
        """Run `size` decoded samples from `index` on; they lie ready, nothing is copied."""
        if size not in self.decoded:
            self.decoded[size] = self._decode_all(size)
        feeds = self.decoded[size]
        self.runtime.run(feeds[index % len(feeds)])

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
            self.end_to_end(0, size)

    def end_to_end(self, index: int, size: int) -> list[str]:
        """Turn `size` raw samples from `index` on into labels.

        Of an embedding it says how many numbers it has, of slots alone how many they are.
        """
        start = index % (len(self.raws) - size + 1)
        raws = self.raws[start : start + size]
        return [self.decode.say(one) for one in self.answer(raws, self.runtime.run)]


def serve(subject: Subject, job: Job, commands: Callable[[], bytes], send: Send) -> None:
    """Answer commands until Quit or the end of input (the parent is gone)."""
    decoder = msgspec.json.Decoder(Command)
    while line := commands():
        command = decoder.decode(line)
        match command:
            case RunBlock():
                send(run_block(subject, job, command))
            case ReadMemory():
                send(read_memory())
            case Quit():
                return


def run_block(subject: Subject, job: Job, command: RunBlock) -> BlockResult:
    """Measure one block."""
    from compactor_runtimes.measure.load import run_load

    work = subject.compute if command.scope == "compute" else subject.end_to_end
    load = run_load(
        lambda index: work(index, command.batch),
        scenario=command.scenario,
        num_samples=len(job.raw_samples),
        budget=command.budget,
    )
    return BlockResult(id=command.id, samples_ns=load.samples_ns, complaints=load.complaints)


def main(arguments: list[str]) -> None:
    """Run one job; an error that is meant for the user is one line on stderr and the exit code."""
    try:
        run_job(arguments)
    except CompactorError as error:
        end_with(error)
    except Exception as error:
        from compactor_runtimes.files import refusal

        refused = refusal(error, "files of the measurement")
        if refused is None:
            raise
        end_with(refused)


def end_with(error: CompactorError) -> NoReturn:
    """Say the sentence as the last line of stderr and exit with its code."""
    with suppress(OSError):  # stderr is a file on the disk that may be full
        sys.stderr.write(f"\n{SAID}{' '.join(str(error).split())}\n")
        sys.stderr.flush()
    sys.exit(error.exit_code)


def run_job(arguments: list[str]) -> None:
    """Run one job, as a server or as a cold start."""
    # Ctrl-C reaches the whole foreground group; only the parent decides when a worker ends
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # libraries print to fd 1 when they like: the protocol keeps the real one to itself
    channel = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)

    def send(answer: Answer) -> None:
        line = memoryview(msgspec.json.encode(answer) + b"\n")
        while line:
            line = line[channel.write(line) :]

    job = msgspec.json.decode(Path(arguments[0]).read_bytes(), type=Job)
    subject = Subject(job)
    if "--cold-start" in arguments:
        subject.read(job.raw_samples[:1], at_least=1)
        label = subject.end_to_end(0, 1)[0]
        send(FirstAnswer(label=label, load_s=subject.load_s, provider=subject.runtime.provider))
        send(read_memory())
    else:
        subject.read(job.raw_samples, at_least=max(job.batches))
        subject.rehearse(job.batches)
        send(Ready(load_s=subject.load_s, provider=subject.runtime.provider))
        serve(subject, job, sys.stdin.buffer.readline, send)
    subject.runtime.close()


if __name__ == "__main__":
    main(sys.argv[1:])
