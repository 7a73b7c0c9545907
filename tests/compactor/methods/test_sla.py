"""`method: sla`: a step by hand on all copies, what it costs, what is told and refused."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from compactor.data.spec import AugmentSpec
from compactor.methods import method_named, parse_options, stage_options
from compactor.trainer.contracts import Preset
from compactor_runtimes.errors import UsageError
from tests import toys
from tests.compactor.trainer.test_fit import ONE_STEP, pixels_of, train


def preset(**options: Any) -> Preset:
    method = method_named("sla", "test")
    assert method.build is not None
    return method.build(parse_options(method, options, "test"))


def test_one_step_by_hand(tmp_path: Path) -> None:
    """25 samples and 75 rotations: the joint loss is a mean over 100 rows, the others over 25."""
    student = toys.classifier()
    ours = copy.deepcopy(student)
    torch.manual_seed(3)  # the stage's seed, from which the head is drawn
    joint = torch.nn.Linear(16, 12)
    stage = toys.stage(method="sla", lr=0.1, **ONE_STEP)
    made = preset(temperature=2.0, joint_weight=0.5, distill_weight=3.0)
    result = train(tmp_path, student=student, stage=stage, preset=made, augment=AugmentSpec(), n=25)
    labels = torch.from_numpy(toys.split(25).labels["label"])
    turned = [torch.rot90(pixels_of(25), quarter, (2, 3)) for quarter in range(4)]
    features = [ours.backbone.body((one - 0.5) / 0.5) for one in turned]
    plain = ours.backbone.head(features[0])
    hard = F.cross_entropy(plain, labels)
    scores = [joint(one) for one in features]
    each = torch.stack([F.cross_entropy(one, labels * 4 + j) for j, one in enumerate(scores)]).mean()
    together = (sum(one[:, j::4] for j, one in enumerate(scores)) / 4).detach()
    kl = F.kl_div((plain / 2).log_softmax(-1), (together / 2).softmax(-1), reduction="batchmean")
    (0.5 * each + hard + 3 * 4 * kl).backward()
    assert result.history[0]["terms"] == pytest.approx(
        {"joint": each.item(), "hard_ce": hard.item(), "self_distill": 4 * kl.item()}, abs=1e-5
    )
    for trained, expected in zip(student.parameters(), ours.parameters(), strict=True):
        assert expected.grad is not None
        torch.testing.assert_close(trained, expected - 0.1 * expected.grad, atol=1e-5, rtol=1e-4)
    assert set(student.state_dict()) == set(toys.classifier().state_dict())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rotations": 1}, "rotations and colors are both 1, so nothing is transformed"),
        ({"distill_weight": 0, "temperature": 2.0}, "temperature has no effect where distill_weight is 0"),
        ({"rotations": 3}, "rotations"),
    ],
)
def test_options_without_effect_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        preset(**options)


def test_without_distillation_its_term_is_left_out() -> None:
    assert len(preset(distill_weight=0).objectives) == 2


def test_a_plan_tells_how_large_steps_become() -> None:
    method = method_named("sla", "test")
    assert method.told is not None
    stage = toys.stage(method="sla", options={"rotations": 2, "colors": 3}, batch_size=8)
    options = stage_options(method, stage, "stage toy")
    assert method.told(options, stage)[0].startswith("a step trains on 6 copies of each sample: 48 rows")
    assert method.copies(options) == 6
