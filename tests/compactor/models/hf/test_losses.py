"""Losses of transformers that need scipy: they load it when they are called, and work as ever."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
from transformers import utils
before = utils.is_scipy_available
from compactor.models.hf.losses import import_losses
import_losses()
import transformers.models.bert.modeling_bert
assert "scipy.optimize" not in sys.modules
assert utils.is_scipy_available is before
from transformers.loss import loss_for_object_detection as losses
assert losses.is_scipy_available is before
rows, columns = losses.linear_sum_assignment([[1, 0], [0, 1]])
assert (rows.tolist(), columns.tolist()) == ([0, 1], [1, 0])
losses.HungarianMatcher()
"""


@pytest.mark.heavy
def test_a_model_is_imported_without_scipy_and_its_losses_have_it_all_the_same() -> None:
    root = Path(__file__).parents[4]
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr[-2000:]
