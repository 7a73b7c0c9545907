"""`method: ps_kd`: the first epoch is plain training, later ones are softened; all processes know all."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from compactor.data.image_loader import ImageLoader, eval_batches
from compactor.data.spec import AugmentSpec
from compactor.methods import method_named, parse_options
from compactor.models.classifier import ImageClassifier
from compactor.targets.own_past import OwnPast
from compactor.trainer.contracts import TargetPolicy
from compactor.trainer.fit import fit
from tests import toys
from tests.compactor.trainer.test_fit import pixels_of, weights
from tests.conftest import ROOT


def trained(folder: Path, method: str, **stage: Any) -> tuple[ImageClassifier, TargetPolicy]:
    """A student after some epochs on 26 samples that are never changed, and its targets."""
    folder.mkdir()
    found, split, student = method_named(method, "test"), toys.split(26), toys.classifier()
    assert found.build is not None
    made = found.build(parse_options(found, {}, "test"))
    spec = toys.stage(method=method, batch_size=7, **{"lr": 0.02, "schedule": "constant", **stage})
    fit(
        student,
        made,
        lambda rank, world: ImageLoader(split, batch_size=7, augment=AugmentSpec(), seed=3),
        training=spec,
        name="toy",
        seed=3,
        folder=folder,
        each_once=lambda: eval_batches(split, 8),
    )
    return student, made.target


def test_the_first_epoch_is_plain_training_and_the_second_is_not(tmp_path: Path) -> None:
    for epochs in (1, 2):
        own, plain = (
            weights(trained(tmp_path / f"{name}{epochs}", name, epochs=epochs)[0])
            for name in ("ps_kd", "supervised")
        )
        assert all(torch.allclose(own[key], plain[key], atol=1e-6) for key in own) == (epochs == 1)


def test_what_it_remembers_is_the_softmax_of_the_last_forward(tmp_path: Path) -> None:
    """At a rate that changes nothing these are the answers of the student as it is, sample by sample."""
    student, target = trained(tmp_path / "run", "ps_kd", lr=1e-12)
    expected = student(pixels_of(26))["label"].softmax(-1).half()
    assert isinstance(target, OwnPast)
    assert target.past is not None
    torch.testing.assert_close(target.past, expected, atol=1e-3, rtol=0)


_GATHER = """
import torch, sys
from compactor.trainer.fit import accelerator_for
from compactor.trainer.processes import end_processes, gather_rows
accelerator = accelerator_for("fp32")
rank = accelerator.process_index
rows = torch.arange(10, dtype=torch.float32).view(5, 2)
own = rows[:3] if rank == 0 else rows[3:]
assert torch.equal(gather_rows(own), rows)
ids = torch.tensor([4, 2]) if rank == 0 else torch.empty(0, dtype=torch.int64)
assert gather_rows(ids).tolist() == [4, 2]
end_processes()
"""


@pytest.mark.heavy
def test_rows_of_uneven_parts_are_gathered_in_order(tmp_path: Path) -> None:
    script = tmp_path / "two.py"
    script.write_text(_GATHER)
    runner = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, *runner], capture_output=True, text=True, cwd=ROOT, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
