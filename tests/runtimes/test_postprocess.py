import numpy as np
import pytest

from compactor_runtimes.errors import IntegrityError
from compactor_runtimes.manifest import SoftmaxPost
from compactor_runtimes.postprocess import Decoder, softmax

POST = SoftmaxPost(output="logits", labels="label")


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


def test_decoding_names_the_most_probable_class():
    first, second = Decoder(POST, ["a", "b", "c"])(
        {"logits": np.log(np.array([[1.0, 2.0, 5.0], [6.0, 1.0, 1.0]]))}
    )
    assert (first.label, first.index, second.label, second.index) == ("c", 2, "a", 0)
    assert first.confidence == pytest.approx(0.625, rel=1e-6)
    assert type(first.index) is int
    assert type(first.confidence) is float
    np.testing.assert_allclose(second.probabilities, [0.75, 0.125, 0.125], rtol=1e-6)


def test_an_output_of_another_width_is_refused():
    with pytest.raises(IntegrityError, match=r"'logits': shape \(1, 2\) found, \[B, 3\] expected"):
        Decoder(POST, ["a", "b", "c"])({"logits": np.zeros((1, 2), np.float32)})
