"""One sigmoid for serving and scoring."""

import numpy as np

from compactor_runtimes.stats.sigmoid import sigmoid


def test_values_and_types():
    found = sigmoid([0.0, np.log(3.0), -np.log(3.0)])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [0.5, 0.75, 0.25], rtol=1e-6)
    assert sigmoid([0.0], "float64").dtype == np.float64


def test_no_logit_overflows_and_small_probabilities_stay():
    with np.errstate(all="raise", under="ignore"):
        found = sigmoid([-80.0, 80.0, -1000.0, 1000.0])
    np.testing.assert_allclose(found[0], np.exp(-80.0), rtol=1e-5)
    assert found[1:].tolist() == [1.0, 0.0, 1.0]
