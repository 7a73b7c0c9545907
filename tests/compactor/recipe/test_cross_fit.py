"""`labels: {cross_fit: K}`: what it makes of a recipe, and what it refuses."""

import copy
from typing import Any

import pytest
import yaml

from compactor.recipe.load import parse_recipe, to_yaml
from compactor.run.behind import stages_behind
from compactor_runtimes.errors import UsageError

MODEL = {"model": "cifar:resnet8", "weights": "teacher.safetensors"}
RECIPE: dict[str, Any] = {
    "name": "toy",
    "task": "image-classification",
    "data": {"dataset": "digits", "limit": {"train": 60}},
    "student": {"model": "cifar:resnet8"},
    "teachers": ["stage:teacher"],
    "stages": [
        {"id": "teacher", "method": "supervised", "steps": 3},
        {
            "id": "distil",
            "method": "kd",
            "labels": {"crops": 2, "cross_fit": 3},
            "steps": 4,
        },
    ],
}


def changed(stage: int = 1, **changes: Any) -> dict[str, Any]:
    raw = copy.deepcopy(RECIPE)
    raw["stages"][stage] |= changes
    return raw


FOLDS = [f"teacher-fold{fold}of3" for fold in (1, 2, 3)]


def test_one_line_makes_ordinary_stages() -> None:
    recipe = parse_recipe(RECIPE)
    assert [stage.id for stage in recipe.stages] == [*FOLDS, "distil"]
    *folds, distil = recipe.stages
    assert distil.teachers == [f"stage:{name}" for name in FOLDS]
    assert recipe.teachers == []  # nothing else hears the teacher of all samples
    for number, stage in enumerate(folds, start=1):
        assert stage.chosen_sampler is not None
        assert stage.chosen_sampler.options == {"fold": number, "folds": 3}
        assert (stage.method, stage.steps) == ("supervised", 3)
    assert [stage.id for stage in stages_behind(recipe, distil.teachers)] == FOLDS


def test_what_a_run_keeps_reads_the_same() -> None:
    recipe = parse_recipe(RECIPE)
    assert parse_recipe(yaml.safe_load(to_yaml(recipe))) == recipe


def test_a_teacher_that_others_need_stays_and_folds_are_shared() -> None:
    raw = copy.deepcopy(RECIPE)
    again = raw["stages"][1] | {"id": "again", "labels": {"crops": 4, "cross_fit": 3}}
    two = raw["stages"][1] | {"id": "two", "labels": {"crops": 4, "cross_fit": 2}}
    live = {"id": "live", "method": "kd", "steps": 4}
    raw["stages"] += [again, two, live]
    recipe = parse_recipe(raw)
    halves = ["teacher-fold1of2", "teacher-fold2of2"]
    ids = [*halves, *FOLDS, "teacher", "distil", "again", "two", "live"]
    assert [stage.id for stage in recipe.stages] == ids
    assert recipe.teachers == ["stage:teacher"]


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (changed(labels={"cross_fit": 1}), r"stages\.1\.labels\.cross_fit: got 1, expected int >= 2"),
        (
            changed(teachers=[MODEL]),
            r"stages\.1\.labels\.cross_fit: teacher cifar:resnet8 is not trained here, so every row may have",
        ),
        (
            changed(teachers=["stage:teacher", "stage:teacher"]),
            r"cross_fit: 2 teachers found, expected one, to be trained once for each fold; name one stage",
        ),
        (changed(labels={"cross_fit": 2, "store": "x"}), r"cross_fit: 2 found beside labels\.store"),
        (changed(mixer="mean"), r"cross_fit: each sample is labelled by one teacher, so that mixer 'mean'"),
        (
            changed(0, sampler={"name": "fresh-subset", "options": {"share": 0.5}}),
            r"teacher stage 'teacher' has sampler 'fresh-subset', but which samples it visits is given by",
        ),
        (
            changed(0, method="kd", teachers=[MODEL]),
            r"teacher stage 'teacher' learns from teachers itself \(method 'kd'\), which may have seen every",
        ),
        (
            changed(0, data={"dataset": "digits", "limit": {"train": 50}}),
            r"teacher stage 'teacher' is trained on other data or limits than the stage that learns",
        ),
    ],
)
def test_what_cannot_be_cross_fitted_is_refused(raw: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        parse_recipe(raw)
    assert "\n" not in str(caught.value)


def test_a_start_from_a_stage_that_saw_all_rows_is_refused() -> None:
    raw = changed(0, init="stage:first")
    raw["stages"].insert(0, {"id": "first", "method": "supervised", "steps": 3})
    with pytest.raises(UsageError, match="starts from stage:first, which was trained on all rows of digits"):
        parse_recipe(raw)
    raw["stages"][0]["data"] = {"dataset": "cifar10", "color": "grey"}
    parse_recipe(raw)


def test_the_id_of_a_fold_must_be_free() -> None:
    raw = copy.deepcopy(RECIPE)
    raw["stages"].insert(0, {"id": FOLDS[1], "method": "supervised", "steps": 3})
    with pytest.raises(UsageError, match=f"id '{FOLDS[1]}' is taken, but labels.cross_fit names the stage"):
        parse_recipe(raw)
