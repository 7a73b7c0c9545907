"""Picked rows read as if the arrays were one, and were cut to these rows."""

import numpy as np
import pytest

from compactor.data.picked import Picked

PARTS = [np.arange(12).reshape(4, 3), np.arange(100, 106).reshape(2, 3), np.arange(200, 209).reshape(3, 3)]


@pytest.mark.parametrize("rows", [None, [8, 0, 4, 4], []])
def test_rows_of_several_arrays(rows: list[int] | None) -> None:
    whole = np.concatenate(PARTS)
    expected = whole if rows is None else whole[np.array(rows, dtype=np.int64)]
    picked = Picked(PARTS, None if rows is None else np.array(rows, dtype=np.int64))
    assert (picked.shape, picked.ndim, len(picked)) == (expected.shape, 2, len(expected))
    assert picked.dtype == expected.dtype
    np.testing.assert_array_equal(picked[:], expected)
    np.testing.assert_array_equal(picked[1:3], expected[1:3])
    if len(expected):
        np.testing.assert_array_equal(picked[2], expected[2])
        np.testing.assert_array_equal(picked[np.array([3, 1])], expected[[3, 1]])
