import math

import numpy as np

from compactor_runtimes.stats.softmax import softmax


def test_softmax_by_hand():
    # e^0, e^ln 2, e^ln 5 = 1, 2, 5 of 8
    found = softmax(np.log(np.array([[1.0, 2.0, 5.0]])))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[0.125, 0.25, 0.625]], rtol=1e-6)


def test_softmax_does_not_overflow_and_leaves_its_input_alone():
    logits = np.array([[1000.0, 999.0, -1e30], [-1e30, -1e30, -1e30]], np.float32)
    before = logits.copy()
    found = softmax(logits)
    # 1 / (1 + e^-1)
    np.testing.assert_allclose(found, [[0.7310586, 0.2689414, 0.0], [1 / 3, 1 / 3, 1 / 3]], rtol=1e-6)
    assert np.array_equal(logits, before)


def test_softmax_of_half_precision_is_computed_in_single():
    found = softmax(np.array([0.0, 10.0], np.float16))
    np.testing.assert_allclose(found, [4.539787e-05, 0.9999546], rtol=1e-5)


def test_softmax_in_double_precision():
    found = softmax([[0.0, math.log(3)]], "float64")
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, [[0.25, 0.75]], rtol=1e-12)


def test_one_row_is_the_same_bits_alone_and_among_others():
    rng = np.random.default_rng(0)
    for classes in (1, 3, 10, 129, 1000):
        logits = rng.normal(0, 8, (5, classes)).astype(np.float32)
        together = softmax(logits)
        for row, expected in zip(logits, together, strict=True):
            assert np.array_equal(softmax(row), expected)
            assert np.array_equal(softmax(row[None])[0], expected)
