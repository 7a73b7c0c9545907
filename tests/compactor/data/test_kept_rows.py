"""Rows of samples come back as they were given, from memory and from a file."""

from pathlib import Path

import numpy as np
import pytest

from compactor.data import kept_rows
from compactor.data.kept_rows import KeptRows

FIRST = np.array([[1, 2], [3, 4]], np.float32)
WORDS = np.array([[1], [2], [3], [4], [5]], np.float32)


@pytest.fixture(params=["memory", "file"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path | None:
    if request.param == "memory":
        return None
    monkeypatch.setattr(kept_rows, "MOST_IN_MEMORY", 10)
    return tmp_path / "run"


def test_rows_are_found_by_sample_the_last_ones_of_each(folder: Path | None) -> None:
    kept = KeptRows(folder)
    kept.add(np.array([7, 3]), FIRST)
    kept.add(np.array([5, 7]), 10 * FIRST)
    assert kept.of(np.array([3, 7, 5, 3])).tolist() == [[3, 4], [30, 40], [10, 20], [3, 4]]
    with pytest.raises(AssertionError):
        kept.of(np.array([4]))
    if folder is not None:
        assert list(folder.iterdir()) == []  # the file has no name


def test_rows_of_words_are_padded_with_zeros(folder: Path | None) -> None:
    kept = KeptRows(folder)
    kept.add(np.array([4, 2]), WORDS[:3], np.array([1, 2]))
    kept.add(np.array([9]), WORDS[3:], np.array([2]))
    assert kept.padded(np.array([9, 4, 2]), 3)[..., 0].tolist() == [[4, 5, 0], [1, 0, 0], [2, 3, 0]]
