"""`method: self_distillation`: who teaches, who only chooses, and what is refused before any training."""

from pathlib import Path
from typing import Any

import pytest
import torch

from compactor.data.image_loader import ImageLoader, eval_batches
from compactor.data.spec import AugmentSpec
from compactor.methods import method_named, parse_options, teaching
from compactor.recipe.load import load_recipe, parse_recipe
from compactor.run.plan import make_plan
from compactor.teachers import Teachers
from compactor.trainer.contracts import Preset
from compactor.trainer.fit import fit
from compactor_runtimes.errors import UsageError
from tests import toys
from tests.compactor.trainer.test_fit import ONE_STEP, pixels_of

ROLES = {"previous": 1, "pure": 0, "ground": 2}
AUTO = {"alpha": "auto", "roles": ROLES}


def preset_with(**options: Any) -> Preset:
    method = method_named("self_distillation", "here")
    return method.build(parse_options(method, options, "here"))  # type: ignore[misc]


def test_the_previous_network_alone_teaches(tmp_path: Path) -> None:
    """One step's loss by hand, with the second of three teachers in the target and the others in alpha."""
    student, models = toys.classifier(0), [toys.classifier(seed) for seed in (1, 2, 8)]
    split, select = toys.split(25), toys.split(12, seed=1)
    pixels = pixels_of(25)
    with torch.no_grad():
        p = student(pixel_values=pixels)["label"].softmax(-1)
        q = models[1](pixel_values=pixels)["label"].softmax(-1)
    preset = preset_with(**AUTO)
    stage = toys.stage(**ONE_STEP)
    result = fit(
        student,
        preset,
        lambda rank, world: ImageLoader(split, batch_size=25, augment=AugmentSpec(), seed=3),
        training=stage,
        name="toy",
        seed=3,
        folder=tmp_path,
        teachers=Teachers(models),
        select=lambda: eval_batches(select, 12),
        ask_once=True,
        each_once=lambda: eval_batches(split, 25),
    )
    alpha = preset.target.chosen["label"]  # type: ignore[attr-defined]
    assert 0.1 < alpha < 0.9  # so that the labels and the teacher both count
    onehot = torch.eye(3)[torch.from_numpy(split.labels["label"])]
    by_hand = (p - (alpha * onehot + (1 - alpha) * q)).square().mean()
    assert result.history[0]["terms"] == {"mse": pytest.approx(by_hand.item(), abs=1e-6)}


def test_one_loss_of_three() -> None:
    made = [preset_with(alpha=0.3, loss=loss).objectives[0][0] for loss in ("mse", "soft_ce", "kl")]
    assert [type(one).__name__ for one in made] == ["ProbabilityMse", "SoftCrossEntropy", "Kl"]
    assert preset_with(alpha=0.3).taught_by == (0,)
    assert preset_with(**AUTO).taught_by == (1,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": "auto"}, r"say which of the teachers they are: roles"),
        ({"alpha": 0.3, "roles": ROLES}, r"roles have no effect with alpha 0\.3"),
        (
            {"alpha": "auto", "roles": {"pure": 0, "ground": 1}},
            r"pure is place 0, which has another role too",
        ),
        (
            {"alpha": "auto", "roles": {"pure": 1, "ground": 1}},
            r"pure is place 1, which has another role too",
        ),
        ({"alpha": 1.0}, r"alpha"),
        ({}, r"alpha"),
    ],
)
def test_options_that_contradict_each_other(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        preset_with(**options)


def recipe(teachers: list[str], **options: Any) -> dict[str, Any]:
    def stage(number: int) -> dict[str, Any]:
        return {"id": f"s{number}", "method": "supervised", "steps": 2}

    last = {"id": "last", "method": "self_distillation", "teachers": teachers, "steps": 2, "options": options}
    return {
        "name": "toy",
        "task": "image-classification",
        "data": {"dataset": "digits"},
        "student": {"model": "cifar:resnet8"},
        "stages": [stage(0), stage(1), stage(2), last],
    }


def test_every_teacher_has_a_role_and_every_role_a_teacher() -> None:
    three = ["stage:s0", "stage:s1", "stage:s2"]
    loaded = parse_recipe(recipe(three, **AUTO))
    assert teaching(loaded.stages[-1], three) == ("stage:s1",)
    with pytest.raises(UsageError, match=r"place 2 found, but the stage has 2 teachers"):
        parse_recipe(recipe(three[:2], **AUTO))
    with pytest.raises(UsageError, match=r"'stage:s2' has no role.*remove it$"):
        parse_recipe(recipe(three, alpha="auto", roles={"pure": 1, "ground": 0}))
    with pytest.raises(UsageError, match=r"'stage:s1' has no role.*alpha: auto would choose"):
        parse_recipe(recipe(three[:2], alpha=0.5))
    raw = recipe(three[:1], alpha=0.5)
    raw["stages"][-1]["labels"] = {"crops": 2}
    with pytest.raises(UsageError, match=r"cannot learn from a label store"):
        parse_recipe(raw)


def test_the_shipped_chain_is_judged_by_its_last_teacher_alone(tmp_path: Path) -> None:
    plan = make_plan(load_recipe("digits-self-distillation"), tmp_path)
    assert plan.judges == ("stage:second",)
    assert plan.stages[-1].teachers == ("stage:second", "stage:third-pure", "stage:first")
