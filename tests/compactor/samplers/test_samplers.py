"""Samplers by name: the contract of every entry, and what a recipe may say of them."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import yaml

from compactor.cache.journal import Journal
from compactor.methods import method_named, stage_options
from compactor.options import checked_options
from compactor.progress import SilentReporter
from compactor.recipe.load import load_recipe, parse_recipe
from compactor.recipe.spec import SamplerSpec, StageSpec
from compactor.run import plan as plan_module
from compactor.run import stages
from compactor.run.plan import make_plan
from compactor.samplers import CROP_MAJOR, SAMPLERS, SHUFFLE, SamplerOptions, sampler_options
from compactor.samplers.crop_major import CropMajor
from compactor.samplers.shuffle import Shuffle
from compactor.samplers.subset import Subset
from compactor.trainer.contracts import Preset
from compactor.trainer.fit import FitResult
from compactor_runtimes.errors import UsageError
from compactor_runtimes.tables import lookup
from tests import toys

OPTIONS: dict[str, dict[str, Any]] = {
    "shuffle": {},
    "subset": {"share": 0.5},
    "crop-major": {"crops_per_image": 2},
    "fresh-subset": {"share": 0.5},
    "scored-subset": {"share": 0.5, "by": "el2n", "scores": "stage:first"},
    "query": {"budget": 4, "rule": "uniform"},
    "other-folds": {"fold": 2, "folds": 3},
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_keeps_the_contract(name: str) -> None:
    """What an epoch visits is as long as it says, lies within the data, and repeats itself."""
    record: type[SamplerOptions] = lookup(SAMPLERS, name, "sampler")
    assert issubclass(record, SamplerOptions)
    options = checked_options(record, OPTIONS[name], "here")
    assert options.views == OPTIONS[name].get("crops_per_image", 1)
    found = []
    for _ in range(2):
        sampler = options.build(toys.stage(epochs=4, batch_size=8), 3)
        sampler.fit(toys.split(24), None)
        for epoch in sampler.passes(4):
            positions = sampler.positions(epoch, 24, np.random.default_rng(epoch))
            assert positions.dtype == np.int64
            assert len(positions) == sampler.samples(24, epoch)
            assert set(positions.tolist()) <= set(range(24))
            assert positions.tolist() != sorted(positions.tolist())
            found.append(positions.tolist())
    assert found[: len(found) // 2] == found[len(found) // 2 :]
    with pytest.raises(UsageError, match=r"here\.shar: unknown option"):
        checked_options(record, {"shar": 1}, "here")


def test_names_of_the_table_that_code_uses() -> None:
    assert {SHUFFLE, CROP_MAJOR} <= set(SAMPLERS)


RECIPE: dict[str, Any] = {
    "name": "toy",
    "task": "image-classification",
    "data": {"dataset": "digits", "limit": {"train": 60, "select": 40, "report": 50}},
    "student": {"model": "cifar:resnet8", "options": {"width": 4}},
    "stages": [
        {"id": "teacher", "method": "supervised", "steps": 1, "batch_size": 20},
        {
            "id": "distil",
            "method": "kd",
            "teachers": ["stage:teacher"],
            "epochs": 2,
            "batch_size": 20,
        },
    ],
}


def recipe(**changes: Any) -> dict[str, Any]:
    raw = copy.deepcopy(RECIPE)
    raw["stages"][1] |= changes
    return raw


def crop_major(views: int) -> dict[str, Any]:
    return {"name": "crop-major", "options": {"crops_per_image": views}}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"sampler": "suffle"},
            r"stages\.1\.sampler: unknown sampler 'suffle'; did you mean 'shuffle'\? known: crop-major, ",
        ),
        (
            {"sampler": {"name": "subset", "options": {"shar": 0.5}}},
            r"stages\.1\.sampler\.options\.shar: unknown option; did you mean 'share'\?",
        ),
        ({"sampler": {"name": "subset", "options": {"share": 1.5}}}, r"sampler\.options\.share: Expected"),
        ({"sampler": "subset"}, r"sampler\.options: .*missing required field share"),
        ({"sampler": {"name": "shuffle", "option": {}}}, r"sampler\.option: unknown key; did you mean"),
        (
            {"sampler": crop_major(2)},
            r"stages\.1\.sampler: crop-major takes several recorded views",
        ),
        (
            {"sampler": crop_major(4), "labels": {"crops": 3}},
            r"sampler\.options\.crops_per_image: 4 found, but 3 crops of each sample are recorded",
        ),
        (
            {"sampler": crop_major(3), "labels": {"crops": 3}},
            r"batch_size: 20 is no multiple of crops_per_image 3; set it to 18 or 21",
        ),
        (
            {
                "sampler": crop_major(2),
                "labels": {"crops": 3},
                "method": "fkd",
                "options": {"crops_per_image": 2},
            },
            r"stages\.1\.options\.crops_per_image: has no effect where the stage names a sampler",
        ),
    ],
)
def test_mistakes_are_answered_in_one_sentence(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        parse_recipe(recipe(**changes))
    assert "\n" not in str(caught.value)


ALSO = {"dataset": "own.jsonl", "also": [{"dataset": "more.jsonl", "share": 0.5}]}


@pytest.mark.parametrize(
    ("changes", "order"),
    [
        ({"sampler": {"name": "subset", "options": {"share": 0.5}}}, "subset"),
        ({"sampler": crop_major(2), "labels": {"crops": 2}}, "crop-major"),
        ({"method": "fkd", "labels": {"crops": 4}}, "crop-major"),
        ({"method": "meal_v2", "labels": {"crops": 1}}, "crop-major"),
    ],
)
def test_other_orders_leave_no_room_for_more_data(changes: dict[str, Any], order: str) -> None:
    raw = recipe(data=ALSO, **changes)
    with pytest.raises(
        UsageError, match=rf"stages\.1: visits samples in an order of its own \({order}\), so"
    ):
        parse_recipe(raw)


@pytest.mark.parametrize("changes", [{}, {"sampler": "shuffle"}, {"method": "meal_v2"}])
def test_shuffling_makes_room_for_more_data(changes: dict[str, Any]) -> None:
    parse_recipe(recipe(data=ALSO, **changes))


def test_an_absent_sampler_is_absent_from_cache_keys() -> None:
    assert "sampler" not in msgspec.to_builtins(toys.stage())
    assert toys.stage().chosen_sampler is None
    assert toys.stage(sampler="shuffle").chosen_sampler == SamplerSpec(name="shuffle")
    assert sampler_options(toys.stage(), "here") is None


def test_the_sampler_says_how_many_views_a_step_has() -> None:
    def views(stage: StageSpec) -> int:
        return stage_options(method_named("fkd", "here"), stage, "here").crops_per_image  # type: ignore[attr-defined,no-any-return]

    labels = {"labels": {"crops": 8}, "method": "fkd"}
    own, named, single = (
        parse_recipe(recipe(**labels, **one)).stages[1]
        for one in ({}, {"sampler": crop_major(5)}, {"sampler": "shuffle"})
    )
    assert [views(own), views(named), views(single)] == [4, 5, 1]


@pytest.mark.parametrize(
    ("changes", "kind", "steps"),
    [
        # 60 samples in batches of 20
        ({}, Shuffle, 6),
        # 30 of them
        ({"sampler": {"name": "subset", "options": {"share": 0.5}}}, Subset, 4),
        # the last two epochs are passes of one view, as those of fkd are
        ({"sampler": crop_major(2), "labels": {"crops": 2}, "epochs": 4}, CropMajor, 12),
        ({"sampler": "shuffle", "labels": {"crops": 2}, "method": "fkd"}, Shuffle, 6),
        (
            {
                "sampler": {"name": "subset", "options": {"share": 0.25}},
                "labels": {"crops": 2},
                "method": "ferkd",
                "options": {"mixing": "none"},
            },
            Subset,
            2,
        ),
    ],
)
def test_any_method_takes_any_sampler_that_fits(
    changes: dict[str, Any], kind: type, steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(recipe(**changes)))
    plan = make_plan(load_recipe(str(tmp_path / "toy.yaml")), tmp_path / "runs")
    fit: Callable[..., FitResult] = stages.fit
    found: list[tuple[type, int]] = []

    def watched(student: Any, preset: Preset, *arguments: Any, **named: Any) -> FitResult:
        result = fit(student, preset, *arguments, **named)
        found.append((type(preset.sampler), result.steps))
        return result

    monkeypatch.setattr(stages, "fit", watched)
    runner = stages.StageRunner(plan, SilentReporter(), Journal(None))
    for stage in plan.stages:
        runner.run(stage)
    assert found[-1] == (kind, steps)


def test_a_samplers_code_is_in_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same recipe, but its sampler's name stands for another module."""
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(recipe(sampler="shuffle")))
    keys = []
    for module in ("shuffle", "subset"):
        monkeypatch.setattr(plan_module, "SAMPLERS", {"shuffle": f"compactor.samplers.{module}:Options"})
        keys.append(make_plan(load_recipe(str(tmp_path / "toy.yaml")), tmp_path).digests["distil"])
    assert keys[0] != keys[1]


def test_another_sampler_is_another_key(tmp_path: Path) -> None:
    keys = []
    for changes in ({}, {"sampler": "shuffle"}, {"sampler": {"name": "subset", "options": {"share": 0.5}}}):
        (tmp_path / "toy.yaml").write_text(yaml.safe_dump(recipe(**changes)))
        keys.append(make_plan(load_recipe(str(tmp_path / "toy.yaml")), tmp_path).digests["distil"])
    assert len(set(keys)) == 3
