"""Global batches: how many, which samples, and which part of them a process makes."""

import numpy as np
import pytest

from compactor.data.global_batches import GlobalBatches, part_of


def test_batches_by_hand():
    visits = np.arange(100, 109)  # 9 samples in batches of 4: the last one alone is left out
    cut = [(step, batch.tolist(), part) for step, batch, part in GlobalBatches(4).cut(visits)]
    assert cut == [(0, [100, 101, 102, 103], slice(0, 4)), (1, [104, 105, 106, 107], slice(0, 4))]
    later = list(GlobalBatches(4).cut(np.arange(10), start=1))
    assert [(step, batch.tolist()) for step, batch, _ in later] == [(1, [4, 5, 6, 7]), (2, [8, 9])]


def test_parts_of_all_processes_are_the_batch():
    for count in range(8):
        for world in (1, 2, 3, 5):
            parts = [np.arange(count)[part_of(count, rank, world)] for rank in range(world)]
            assert [part.tolist() for part in parts] == [
                part.tolist() for part in np.array_split(np.arange(count), world)
            ]


def test_every_process_sees_as_many_batches_some_of_them_empty():
    seen = [list(GlobalBatches(4, rank, 3).cut(np.arange(6))) for rank in range(3)]
    assert [[part for _, _, part in one] for one in seen] == [
        [slice(0, 2), slice(0, 1)],
        [slice(2, 3), slice(1, 2)],
        [slice(3, 4), slice(2, 2)],
    ]


@pytest.mark.parametrize(
    ("numbers", "said"),
    [((0, 0, 1), "batch_size: got 0"), ((8, 2, 2), "rank: got 2 of world 2"), ((8, -1, 2), "rank: got -1")],
)
def test_impossible_numbers_are_refused(numbers, said):
    with pytest.raises(ValueError, match=said):
        GlobalBatches(*numbers)
