"""Which candidates are near-duplicates of what the recipe judges on, found and kept shard by shard.

1. Candidates are compared with select and report always, with train and with each other where that is asked.
2. A file of matches appears by one rename, when all candidates of a shard of scores were compared; several
   processes share the shards, and what is there is never computed again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from compactor.cache.claims import claimed
from compactor.data.picked import Picked
from compactor.data.splits import Split
from compactor.label_store.write import Job
from compactor.pool.pace import Pace
from compactor.progress import Reporter
from compactor.trainer.interrupt import stop_on_signal
from compactor_runtimes.files import write_whole

MATCHES = "matches-{:05d}.jsonl"
WITHIN = "within.jsonl"
POOL = "pool"  # what a copy of another candidate is a copy of
CHUNK = 512  # candidates whose images are in memory together


class Copy(Struct, frozen=True, kw_only=True):
    """A candidate that is a copy: `of` is the sample id in split `against`, or a candidate (`pool`)."""

    id: int
    against: str
    of: int
    check: str
    transform: str
    score: float
    similarity: float


class Found(Protocol):
    """What a matcher says of a candidate; `reference` is the place of its match among the references."""

    @property
    def reference(self) -> int: ...
    @property
    def check(self) -> str: ...
    @property
    def transform(self) -> str: ...
    @property
    def score(self) -> float: ...
    @property
    def similarity(self) -> float: ...


class Matcher(Protocol):
    """Compares images with references that it knows."""

    def match(self, images: NDArray[np.uint8], features: NDArray[np.float32]) -> Sequence[Found | None]:
        """The match of each image [n, H, W, C] with features [n, D], None where there is none."""


@dataclass(frozen=True)
class References:
    """The images that candidates must not be copies of: rows of some splits, one split after the other."""

    splits: tuple[Split, ...]

    @cached_property
    def images(self) -> Picked:
        """All of them, read on demand."""
        whole = Picked([one.inputs for one in self.splits])
        pairs = zip(self.splits, whole.starts, strict=False)
        rows = np.concatenate([one.rows + start for one, start in pairs]).astype(np.int64)
        return Picked(whole.parts, rows)

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Place of the first image of each split, and of all [S + 1]."""
        return np.cumsum([0, *(len(one) for one in self.splits)]).astype(np.int64)

    def place(self, index: int) -> tuple[str, int]:
        """Split and sample id of a reference."""
        split = int(np.searchsorted(self.starts, index, side="right")) - 1
        return self.splits[split].name, int(self.splits[split].rows[index - self.starts[split]])

    @property
    def identity(self) -> dict[str, str]:
        """Digest of each split."""
        return {one.name: one.digest for one in self.splits}


@dataclass(frozen=True)
class Shards:
    """The scored candidates, shard by shard: `numbers` int64 [n] of all, and their features on disk."""

    numbers: NDArray[np.int64]
    jobs: list[Job]
    features: list[Path]

    def part(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.float16]]:
        """Candidates of a shard, and their features, memory-mapped."""
        job = self.jobs[number]
        found = np.load(self.features[number], mmap_mode="r", allow_pickle=False)
        return self.numbers[job.first : job.first + job.rows], found


def find_copies(
    folder: Path,
    shards: Shards,
    images: Any,
    references: References,
    matcher: Matcher,
    *,
    reporter: Reporter,
    deadline_s: float | None = None,
) -> None:
    """Compare what was not compared yet.

    Args:
        folder: where files of matches lie or will lie.
        shards: the candidates.
        images: of all sources, indexed by candidates' numbers.
        references: what they are compared with.
        matcher: compares, and knows the references.
        reporter: where progress goes.
        deadline_s: as in `make_scores`.

    Raises:
        InterruptedRun: stopped; finished shards are kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    todo = sum(shards.jobs[number].rows for number in missing(folder, shards))
    with stop_on_signal(deadline_s) as wish, reporter.bar("compare", todo) as bar:
        pace = Pace("matches", todo, bar, reporter, wish, folder)
        files = {number: folder / MATCHES.format(number) for number in range(len(shards.jobs))}
        for number in claimed(folder, files):
            copies: list[Copy] = []
            numbers, features = shards.part(number)
            for start in range(0, len(numbers), CHUNK):
                some = numbers[start : start + CHUNK]
                near = np.asarray(features[start : start + CHUNK], dtype=np.float32)
                found = matcher.match(images[some], near)
                for candidate, match in zip(some, found, strict=True):
                    if match is not None:
                        against, of = references.place(match.reference)
                        copies.append(_copy(int(candidate), against, of, match))
                pace.tick(len(some))
            write_lines(files[number], copies)
            pace.shard_done()
        bar.at(todo)


def missing(folder: Path, shards: Shards) -> list[int]:
    """Shards whose candidates were not compared yet."""
    numbers = range(len(shards.jobs))
    return [number for number in numbers if not (folder / MATCHES.format(number)).is_file()]


def read_copies(folder: Path, shards: Shards) -> list[Copy]:
    """All copies of references, by candidate."""
    return [one for number in range(len(shards.jobs)) for one in read_lines(folder / MATCHES.format(number))]


def write_lines(path: Path, copies: Sequence[Copy]) -> None:
    """Write copies, one line each."""
    write_whole(path, b"".join(msgspec.json.encode(one) + b"\n" for one in copies))


def read_lines(path: Path) -> list[Copy]:
    """Read what `write_lines` wrote."""
    return [msgspec.json.decode(line, type=Copy) for line in path.read_bytes().splitlines()]


def copies_of_candidates(numbers: NDArray[np.int64], found: Sequence[Found | None]) -> list[Copy]:
    """Copies of other candidates among `numbers`, by what a matcher says of each."""
    return [
        _copy(int(number), POOL, int(numbers[match.reference]), match)
        for number, match in zip(numbers, found, strict=True)
        if match is not None
    ]


def _copy(number: int, against: str, of: int, match: Found) -> Copy:
    return Copy(
        id=number,
        against=against,
        of=of,
        check=match.check,
        transform=match.transform,
        score=round(float(match.score), 6),
        similarity=round(float(match.similarity), 6),
    )
