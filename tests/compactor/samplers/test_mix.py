"""Epochs of mixed data sets, counted by hand."""

import numpy as np
import pytest

from compactor.samplers.mix import Mixed


def epoch(parts, number: int = 0) -> list[int]:
    n = sum(rows for rows, _ in parts)
    return Mixed(parts).positions(number, n, np.random.default_rng(number)).tolist()


def test_three_to_seven() -> None:
    """10 rows, 7 of them of the second part, which has 4: each once, and three of them again."""
    found = epoch([(6, 0.3), (4, 0.7)])
    first, second = [one for one in found if one < 6], [one for one in found if one >= 6]
    assert (len(first), len(set(first))) == (3, 3)
    assert set(second) == {6, 7, 8, 9}
    assert sorted(second.count(one) for one in (6, 7, 8, 9)) == [1, 2, 2, 2]
    assert found != sorted(found)
    # mixed, not one part after the other
    assert [one < 6 for one in found] != sorted((one < 6 for one in found), reverse=True)


def test_counts_of_three_parts_and_their_rest() -> None:
    parts = [(10, 0.5), (30, 0.2), (60, 0.3)]
    assert Mixed(parts).counts(100) == [50, 20, 30]
    found = np.array(epoch(parts))
    assert len(found) == 100
    assert np.bincount(np.digitize(found, [10, 40])).tolist() == [50, 20, 30]
    # 50 of 10 rows: each five times
    assert np.bincount(found[found < 10]).tolist() == [5] * 10
    assert np.unique(found[found >= 10]).size == 50
    # 0.3 * 5 rounds to 2, three times more than there are
    assert Mixed([(1, 0.1), (1, 0.3), (1, 0.3), (2, 0.3)]).counts(5) == [0, 2, 2, 1]


def test_an_epoch_depends_on_its_generator_alone() -> None:
    parts = [(20, 0.5), (20, 0.5)]
    assert epoch(parts) == epoch(parts)
    assert epoch(parts) != epoch(parts, 1)
    with pytest.raises(ValueError, match="n: got 39, expected 40"):
        Mixed(parts).positions(0, 39, np.random.default_rng(0))
