"""Copies of images across splits and labels."""

import numpy as np
import pytest

from compactor.data.copies import copies_told, pixel_digests


def rows(*pairs):
    digests, labels = zip(*pairs, strict=True) if pairs else ((), ())
    return np.array(digests, dtype=np.uint64), np.array(labels, dtype=np.int64)


@pytest.mark.parametrize(
    ("train", "select", "report", "told"),
    [
        ([(1, 0), (2, 1)], [(3, 0)], [(4, 1)], []),
        ([(1, 0), (1, 0)], [(3, 0)], [(4, 1)], []),  # a copy within train harms no figure
        ([(1, 0), (2, 1)], [(1, 0)], [(1, 0), (4, 1)], ["1 of 1 select images", "1 of 2 report images"]),
        ([(1, 0)], [(2, 1)], [(2, 1)], ["1 of 1 report images are copies of images in train or select"]),
        ([(1, 0), (1, 1), (2, 0), (2, 1)], [(3, 0)], [(4, 1)], ["2 images occur with two labels"]),
        ([(1, 0), (1, -100)], [(3, 0)], [(4, 1)], []),  # no label is no other label
        ([(2**63 + 1, 0)], [(2**63, 1)], [], []),  # digests are compared exactly
    ],
)
def test_copies_are_counted(train, select, report, told):
    found = copies_told({"train": rows(*train), "select": rows(*select), "report": rows(*report)})
    assert len(found) == len(told)
    for sentence, start in zip(found, told, strict=True):
        assert sentence.startswith(start)


def test_digests_are_equal_for_equal_pixels_alone():
    images = np.zeros((3, 2, 2, 1), np.uint8)
    images[1, 0, 0] = 1
    first, second, third = pixel_digests(images).tolist()
    assert first == third != second
