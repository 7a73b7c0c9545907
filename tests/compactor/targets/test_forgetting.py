"""Forgetting events: by hand, over a checkpoint, and over two processes."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from compactor.records import Batch, Outputs
from compactor.targets.forgetting import EVENTS, IDS, LEARNED, VISITS, Forgetting

ROOT = Path(__file__).parents[3]


def see(policy: Forgetting, right: dict[int, bool | None]) -> None:
    """A batch of samples that are answered rightly or wrongly; None has no label."""
    labels = torch.tensor([-100 if one is None else 1 for one in right.values()])
    logits = torch.tensor([[0.0, 1.0] if one else [1.0, 0.0] for one in right.values()])
    policy.observe(Batch({}, {"label": labels}, torch.tensor(list(right))), Outputs({"label": logits}))


def counts(policy: Forgetting) -> dict[str, list[int]]:
    return {name: values.tolist() for name, values in policy.kept().items()}


EPOCHS = [
    {2: True, 5: False, 9: True, 7: None},
    {9: False, 2: True, 5: False, 7: None},
    {2: False, 5: False, 9: True, 7: None},
    {5: False, 2: True, 9: False, 7: None},
]
EXPECTED = {IDS: [2, 5, 9], EVENTS: [1, 0, 2], LEARNED: [True, False, True], VISITS: [4, 4, 4]}


def test_by_hand() -> None:
    policy = Forgetting()
    for epoch in EPOCHS:
        see(policy, epoch)
    assert counts(policy) == EXPECTED


def test_a_wrong_answer_that_stays_wrong_is_forgotten_once() -> None:
    policy = Forgetting()
    for right in (True, False, False, False):
        see(policy, {0: right})
    assert counts(policy)[EVENTS] == [1]


def test_counting_goes_on_after_a_checkpoint(tmp_path: Path) -> None:
    first, second = Forgetting(), Forgetting()
    for epoch in EPOCHS[:2]:
        see(first, epoch)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for epoch in EPOCHS[2:]:
        see(second, epoch)
    assert counts(second) == EXPECTED


def test_nothing_to_count() -> None:
    """No sample has a label; labels are of words."""
    policy = Forgetting()
    see(policy, {3: None})
    policy.observe(Batch({}, {"slot": torch.zeros(1, 4, dtype=torch.long)}, torch.tensor([0])), Outputs({}))
    assert counts(policy)[IDS] == []


_TWO = """
import numpy as np
import sys
import torch
from accelerate import Accelerator
from compactor.trainer.processes import end_processes
from compactor.targets.forgetting import Forgetting
from tests.compactor.targets.test_forgetting import EPOCHS, see
accelerator = Accelerator(cpu=True)
policy = Forgetting()
for epoch in EPOCHS:
    mine = list(epoch.items())
    see(policy, dict(mine[:3] if accelerator.process_index == 0 else mine[3:]))
if accelerator.process_index == 1:
    np.savez(sys.argv[1], **policy.kept())
end_processes()
"""


@pytest.mark.heavy
def test_two_processes_count_as_one(tmp_path: Path) -> None:
    """Three samples in the one, one in the other, which is another one in each epoch."""
    (tmp_path / "two.py").write_text(_TWO)
    runner = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *runner, str(tmp_path / "two.py"), str(tmp_path / "found.npz")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}",
        },
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(tmp_path / "found.npz") as found:
        assert {name: found[name].tolist() for name in found.files} == EXPECTED
