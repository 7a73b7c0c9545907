"""Stages whose samplers read earlier stages, or keep a share: from the recipe to what is trained and kept."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from compactor.cache.folder import RECORDS
from compactor.cache.journal import Journal
from compactor.label_store.store import open_store
from compactor.progress import SilentReporter
from compactor.recipe.load import LoadedRecipe, parse_recipe
from compactor.recipe.spec import Recipe
from compactor.run import stages
from compactor.run.behind import stages_behind
from compactor.run.plan import make_plan
from compactor.run.planned import Plan
from compactor.samplers.query import QUERIED
from compactor.samplers.subset import Subset
from compactor.targets.forgetting import EVENTS, IDS, VISITS
from compactor.trainer.contracts import Preset
from compactor.trainer.fit import FitResult
from compactor_runtimes.errors import UsageError

DATA = {"dataset": "digits", "limit": {"train": 60, "select": 40, "report": 50}}
MIXED = DATA | {"also": [{"dataset": "digits", "limit": 30}]}
SHORT = {"epochs": 2, "batch_size": 20, "lr": 0.05}


def scored(**options: Any) -> dict[str, Any]:
    return {
        "name": "scored-subset",
        "options": {"share": 0.5, "by": "el2n", "scores": "stage:first", **options},
    }


def query(**options: Any) -> dict[str, Any]:
    return {"name": "query", "options": {"budget": 4, "scorer": "stage:first", **options}}


RECIPE: dict[str, Any] = {
    "name": "toy",
    "task": "image-classification",
    "data": DATA,
    "student": {"model": "cifar:resnet8", "options": {"width": 4}},
    "stages": [
        {"id": "first", "method": "supervised", "options": {"record_forgetting": True}, **SHORT},
        {"id": "hard", "method": "supervised", "sampler": scored(keep="hardest", balanced=True), **SHORT},
        {
            "id": "forgot",
            "method": "kd",
            "teachers": ["stage:hard"],
            "sampler": scored(by="forgetting"),
            **SHORT,
        },
        {
            "id": "one",
            "method": "kd",
            "teachers": ["stage:first"],
            "data": MIXED,
            "sampler": query(),
            **SHORT,
        },
        {
            "id": "two",
            "method": "kd",
            "teachers": ["stage:first"],
            "data": MIXED,
            "sampler": query(rule="uniform", scorer=None, queried=["stage:one"]),
            **SHORT,
        },
    ],
}


def changed(number: int, **changes: Any) -> dict[str, Any]:
    raw = copy.deepcopy(RECIPE)
    raw["stages"][number] |= changes
    return raw


def planned(raw: dict[str, Any], folder: Path) -> Plan:
    return make_plan(LoadedRecipe(parse_recipe(raw), folder, "toy"), folder / "runs")


@pytest.mark.slow
def test_scores_and_picks_go_from_stage_to_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(RECIPE, tmp_path)
    seen: dict[str, tuple[Preset, FitResult]] = {}
    fit = stages.fit

    def watched(student: Any, preset: Preset, *arguments: Any, **named: Any) -> FitResult:
        result = fit(student, preset, *arguments, **named)
        seen[named["name"]] = preset, result
        return result

    monkeypatch.setattr(stages, "fit", watched)
    runner = stages.StageRunner(plan, SilentReporter(), Journal(None))
    folders = {stage.id: runner.run(stage) for stage in plan.stages}
    records = load_file(folders["first"] / RECORDS)
    assert records[IDS].tolist() == plan.stages[0].data.train.rows.tolist()
    assert records[VISITS].tolist() == [2] * 60
    assert records[EVENTS].max() <= 1
    assert not (folders["hard"] / RECORDS).exists()
    # 30 of 60 in batches of 20, two epochs
    assert [seen[name][1].steps for name in ("first", "hard", "forgot")] == [6, 4, 4]
    assert seen["hard"][0].sampler.summary()["kept"] == 30
    # 60 labelled, 4 that are asked about, 4 more: 64 and 68 samples are 4 steps each
    asked = [load_file(folders[name] / RECORDS)[QUERIED] for name in ("one", "two")]
    assert [len(one) for one in asked] == [4, 8]
    assert set(asked[0]) < set(asked[1])
    mixed = plan.stages[-1].data.train
    assert (mixed.labels["label"][asked[1]] == -100).all()
    assert seen["one"][0].sampler.samples(90) == 64
    assert seen["two"][0].sampler.samples(90) == 68
    assert seen["one"][0].sampler.summary()["assumed_wrong"] <= 30


@pytest.mark.slow
def test_a_stage_that_is_read_is_in_the_key(tmp_path: Path) -> None:
    """Another first stage makes others of all that read it, also of a stage that reads its picks' reader."""
    keys = [planned(raw, tmp_path).digests for raw in (RECIPE, changed(0, lr=0.06))]
    assert all(keys[0][name] != keys[1][name] for name in keys[0])
    alone = [planned(raw, tmp_path).digests["hard"] for raw in (RECIPE, changed(2, lr=0.06))]
    assert alone[0] == alone[1]


def test_a_stage_that_is_read_is_behind() -> None:
    recipe: Recipe = parse_recipe(RECIPE)
    assert [one.id for one in stages_behind(recipe, ["stage:hard"])] == ["first", "hard"]
    assert [one.id for one in stages_behind(recipe, ["stage:two"])] == ["first", "one", "two"]


@pytest.mark.parametrize(
    ("number", "changes", "says"),
    [
        (1, {"sampler": scored(scores="stage:two")}, r"sampler\.options: 'stage:two' names no earlier stage"),
        (
            1,
            {"sampler": scored(scores="first")},
            r"sampler\.options: 'first' found, expected an earlier stage",
        ),
        (
            2,
            {"sampler": scored(by="forgetting", scores="stage:hard")},
            "'stage:hard' does not count how often",
        ),
        (1, {"data": MIXED}, r"visits samples in an order of its own \(scored-subset\)"),
        (2, {"data": DATA | {"limit": {"train": 50}}}, "'stage:first' keeps what it found by the samples of"),
        (
            4,
            {"sampler": query(queried=["stage:first"])},
            "'stage:first' keeps what it found by the samples of",
        ),
        (4, {"sampler": query(queried=["stage:hard"]), "data": DATA}, "'stage:hard' has not asked teachers"),
        (
            3,
            {"data": DATA | {"also": [{"dataset": "digits", "share": 0.5}]}},
            "their share has no effect",
        ),
        (3, {"method": "supervised"}, "method 'supervised' reads labels alone; use method kd"),
        (3, {"method": "ssld"}, "method 'ssld' reads teachers alone; use method kd"),
        (3, {"labels": {}}, "asks teachers about samples that it picks once the stage begins"),
    ],
)
def test_mistakes_are_answered_in_one_sentence(number: int, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        parse_recipe(changed(number, **changes))
    assert "\n" not in str(caught.value)


def test_only_single_classes_are_forgotten_and_scored() -> None:
    raw = {
        "name": "toy",
        "task": "image-multi-label",
        "data": {"dataset": "own.jsonl"},
        "student": RECIPE["student"],
        "stages": [{"id": "first", "method": "supervised", **SHORT}],
    }
    with pytest.raises(UsageError, match="task image-multi-label has no single class of a sample; remove it"):
        parse_recipe(raw | {"stages": [raw["stages"][0] | {"options": {"record_forgetting": True}}]})
    with pytest.raises(UsageError, match="task image-multi-label answers otherwise; use sampler subset"):
        parse_recipe(
            raw
            | {
                "stages": [
                    raw["stages"][0],
                    {"id": "x", "method": "supervised", **SHORT, "sampler": scored()},
                ]
            }
        )


def test_what_has_no_label_is_told_when_it_is_planned(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"stage one\.sampler\.options\.budget: 40 found, but 30 of 90"):
        planned(changed(3, sampler=query(budget=40)), tmp_path)


@pytest.mark.slow
def test_a_label_store_holds_what_a_static_subset_keeps(tmp_path: Path) -> None:
    subset = {"name": "subset", "options": {"share": 0.25}}
    labelled = {"method": "kd", "teachers": ["stage:first"], "labels": {"crops": 2}, **SHORT}
    raw = RECIPE | {"stages": [RECIPE["stages"][0], {"id": "taught", "sampler": subset, **labelled}]}
    plan = planned(raw, tmp_path)
    other = planned(RECIPE | {"stages": [raw["stages"][0], {"id": "taught", **labelled}]}, tmp_path)
    assert plan.stages[1].labels is not None
    assert other.stages[1].labels is not None
    assert (plan.stages[1].labels.records, other.stages[1].labels.records) == (
        120,
        210,
    )  # 15 or 60 twice, 90 once
    assert plan.stages[1].labels.digest != other.stages[1].labels.digest
    runner = stages.StageRunner(plan, SilentReporter(), Journal(None))
    for stage in plan.stages:
        runner.run(stage)
    sampler = Subset(0.25, 0)
    sampler.fit(plan.stages[1].data.train, None)
    expected = plan.stages[1].data.train.rows[sampler.chosen]
    assert np.array_equal(open_store(plan.stages[1].labels.folder).train.ids, expected)
