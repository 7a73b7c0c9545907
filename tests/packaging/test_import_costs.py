"""What a run imports before its first step: nothing that it does not need then, for imports are its start."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# a third of a start was torch's compiler, a quarter scikit-learn with scipy and pandas
UNNEEDED = (
    "sklearn",
    "scipy",
    "pandas",
    "torch._dynamo",
    "torchvision",
    "transformers",
    "timm",
    "onnxruntime",
)
SCRIPT = """
import sys
from pathlib import Path
from compactor.recipe.load import load_recipe
from compactor.run.pipeline import run_recipe
from compactor.trainer.fit import _Run

class Stop(Exception): pass

def stop(run, bar, wish):
    real(run, bar, wish)
    raise Stop

real, _Run.one_epoch = _Run.one_epoch, stop
try:
    loaded = load_recipe("digits", ("stages.0.epochs=1",))
    run_recipe(loaded, runs=Path(sys.argv[1]), trace=False)
except Stop:
    found = [name for name in sys.argv[2:] if name in sys.modules]
    assert not found, found
else:
    raise AssertionError("nothing was trained")
"""


@pytest.mark.heavy
def test_a_run_trains_without_what_only_other_commands_need(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), *UNNEEDED]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
