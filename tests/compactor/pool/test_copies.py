"""Comparing: each candidate once, whoever does it and however often it is stopped."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from compactor.label_store.header import Part
from compactor.label_store.write import Job
from compactor.pool import copies
from compactor.pool.copies import POOL, References, Shards, copies_of_candidates, find_copies, read_copies
from compactor.progress import SilentReporter
from compactor_runtimes.errors import InterruptedRun
from tests import toys

ROWS = 4


@dataclass(frozen=True)
class Match:
    reference: int
    check: str = "pixels"
    transform: str = "flip"
    score: float = 0.5
    similarity: float = 0.25


class Matcher:
    """Says that candidates whose first feature is 1 copy the reference that their second one names."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def match(self, images: np.ndarray, features: np.ndarray) -> Sequence[Match | None]:
        assert len(images) == len(features)
        assert features.dtype == np.float32
        self.calls.append(len(images))
        return [Match(int(one[1])) if one[0] else None for one in features]


@pytest.fixture
def shards(tmp_path: Path) -> Shards:
    """Ten candidates in shards of four, numbered 5, 8, 11, ...; the second of each shard is a copy."""
    part = Part(split="train", rows=10, views=1, source="", ids="", ids_sha256="", shard_rows=ROWS)
    jobs = [
        Job(number, part, first, min(ROWS, 10 - first)) for number, first in enumerate(range(0, 10, ROWS))
    ]
    files = []
    for job in jobs:
        files.append(tmp_path / f"features-{job.number}.npy")
        features = np.zeros((job.rows, 2), dtype=np.float16)
        features[1] = 1, 7 + job.number
        np.save(files[-1], features)
    return Shards(np.arange(10) * 3 + 5, jobs, files)


@pytest.fixture
def references() -> References:
    whole = toys.split(24)
    select = replace(whole, name="select", rows=np.array([1, 3, 5, 7]))
    return References((select, replace(whole, name="report", rows=np.array([10, 12, 14, 16, 18, 20]))))


def run(folder: Path, shards: Shards, references: References, matcher: Matcher, **options: object) -> None:
    images = np.zeros((64, 8, 8, 1), dtype=np.uint8)
    find_copies(
        folder,
        shards,
        images,
        references,
        matcher,
        reporter=SilentReporter(),
        **options,  # type: ignore[arg-type]
    )


def test_references_know_their_split_and_id(references: References) -> None:
    assert references.images.shape == (10, 8, 8, 1)
    assert [references.place(index) for index in (0, 3, 4, 9)] == [
        ("select", 1),
        ("select", 7),
        ("report", 10),
        ("report", 20),
    ]
    whole = toys.split(24).inputs
    np.testing.assert_array_equal(references.images[np.array([4, 3])], whole[[10, 7]])
    assert references.identity == {"select": "toy-24-0", "report": "toy-24-0"}


def test_copies_are_listed_with_their_match(shards: Shards, references: References, tmp_path: Path) -> None:
    run(tmp_path / "m", shards, references, Matcher())
    found = read_copies(tmp_path / "m", shards)
    assert [(one.id, one.against, one.of) for one in found] == [
        (8, "report", 16),
        (20, "report", 18),
        (32, "report", 20),
    ]
    assert (found[0].check, found[0].transform, found[0].score, found[0].similarity) == (
        "pixels",
        "flip",
        0.5,
        0.25,
    )


def test_what_was_compared_is_not_compared_again(
    shards: Shards, references: References, tmp_path: Path
) -> None:
    folder, first, second, third = tmp_path / "m", Matcher(), Matcher(), Matcher()
    run(folder, shards, references, first)
    assert first.calls == [4, 4, 2]
    (folder / "matches-00001.jsonl").unlink()
    run(folder, shards, references, second)
    assert second.calls == [4]
    run(folder, shards, references, third)
    assert third.calls == []


def test_a_deadline_keeps_what_is_finished(
    shards: Shards, references: References, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "CHUNK", 2)
    matcher = Matcher()
    with pytest.raises(InterruptedRun, match=r"stopped by --max-hours after 2 of 10 images"):
        run(tmp_path / "m", shards, references, matcher, deadline_s=time.monotonic())
    assert not list((tmp_path / "m").glob("matches-*"))
    whole = Matcher()
    run(tmp_path / "m", shards, references, whole)
    run(tmp_path / "n", shards, references, Matcher())
    assert whole.calls == [2, 2, 2, 2, 2]
    assert read_copies(tmp_path / "m", shards) == read_copies(tmp_path / "n", shards)


def test_copies_among_candidates_name_the_other_candidate() -> None:
    [one] = copies_of_candidates(np.array([4, 9, 30]), [None, None, Match(1)])
    assert (one.id, one.against, one.of) == (30, POOL, 9)
