"""Stages whose teachers run elsewhere than in torch: what is refused, what a store and a plan say of it."""

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import save_file

from compactor.cache.journal import Journal
from compactor.label_store.inspect import inspect_store
from compactor.label_store.inspect_terminal import _facts
from compactor.label_store.store import open_store
from compactor.models.build import build_model
from compactor.progress import SilentReporter
from compactor.recipe.load import LoadedRecipe, load_recipe, parse_recipe
from compactor.recipe.spec import ModelSpec
from compactor.records import DataInfo, ImageInfo
from compactor.run.label import label_recipe
from compactor.run.plan import make_plan
from compactor.run.stages import StageRunner
from compactor_runtimes.errors import AccuracyGateError, InterruptedRun, UsageError
from tests.compactor import label_toys

TEACHER = {
    "model": "cifar:resnet8",
    "options": {"width": 4},
    "weights": "teacher.safetensors",
    "trust_teacher": True,
    "min_agreement": 0.5,
    "max_kl": 1.0,
    "runtime": "torch-bf16",
}
RECIPE: dict[str, Any] = {
    "name": "toy",
    "task": "image-classification",
    "data": {"dataset": "digits", "limit": {"train": 60, "select": 40, "report": 50}},
    "teachers": [TEACHER],
    "student": {"model": "cifar:resnet8", "options": {"width": 4}},
    "stages": [{"id": "distil", "method": "kd", "steps": 2, "batch_size": 20}],
    "measure": {"profile": "smoke", "scenarios": ["single-stream"]},
}


def changed(teacher: dict[str, Any] | None = None, **stage: Any) -> dict[str, Any]:
    raw = copy.deepcopy(RECIPE)
    raw["teachers"][0] |= teacher or {}
    raw["stages"][0] |= stage
    return raw


def loaded(folder: Path, raw: dict[str, Any]) -> LoadedRecipe:
    info = DataInfo("image-classification", {"label": [str(n) for n in range(10)]}, ImageInfo(8, 8, 1))
    model = build_model(ModelSpec(model="cifar:resnet8", options={"width": 4}), info, base=folder, seed=3)
    state = {name: tensor.contiguous() for name, tensor in model.backbone.state_dict().items()}
    save_file(state, folder / "teacher.safetensors")
    (folder / "toy.yaml").write_text(yaml.safe_dump(raw))
    return load_recipe(str(folder / "toy.yaml"))


def trained(recipe: LoadedRecipe, runs: Path) -> StageRunner:
    plan = make_plan(recipe, runs)
    runner = StageRunner(plan, SilentReporter(), Journal(None))
    for stage in plan.stages:
        runner.run(stage)
    return runner


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (changed({"runtime": "tflite"}), r"teachers\.0\.runtime: got 'tflite'"),
        (changed({"runtime": "torch"}), r"max_kl: has no effect on a teacher in torch; remove it"),
        (
            changed({"model": "bundle:b", "weights": None, "options": {}}),
            r"runtime: torch-bf16 found, but bundle:b is a graph already",
        ),
        (
            changed() | {"student": {"model": "cifar:resnet8", "runtime": "auto"}},
            r"student\.runtime: auto found, but only teachers of a stage run elsewhere",
        ),
    ],
)
def test_a_runtime_that_has_no_effect_is_refused(raw: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_recipe(raw)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (
            changed(method="ssld", options={"teacher_bn": "batch"}, teachers=[TEACHER | {"runtime": "auto"}]),
            r"stage distil\.options\.teacher_bn: batch normalises by the batch, but a graph",
        ),
        (
            changed(method="nd", options={}),
            r"compares the feature .* of teacher cifar:resnet8, which only torch shows; remove its runtime",
        ),
    ],
)
def test_what_reads_more_than_answers_is_refused_before_anything_is_exported(
    tmp_path: Path, raw: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        trained(loaded(tmp_path, raw), tmp_path / "runs")
    assert not (tmp_path / "runs" / "toy" / "teachers").exists()


@pytest.mark.slow
def test_live_teachers_run_where_the_recipe_says_and_plan_and_notes_say_so(tmp_path: Path) -> None:
    recipe = loaded(tmp_path, changed())
    (step, *_) = make_plan(recipe, tmp_path / "runs").steps
    assert "from cifar:resnet8 on torch-bf16" in step.detail
    notes = trained(recipe, tmp_path / "runs").notes
    assert any("ran on torch-bf16 (torch" in note and "on 40 select rows" in note for note in notes)
    in_torch = changed({"runtime": "torch", "max_kl": 0.003, "min_agreement": 0.995})
    (plain,) = make_plan(loaded(tmp_path, in_torch), tmp_path / "runs").stages
    assert plain.action == "run"  # another key


def test_one_that_is_too_far_teaches_nothing(tmp_path: Path) -> None:
    recipe = loaded(tmp_path, changed({"max_kl": 0.0}))
    with pytest.raises(AccuracyGateError, match="cifar:resnet8 on torch-bf16: mean KL"):
        trained(recipe, tmp_path / "runs")


@pytest.mark.slow
def test_a_store_says_what_labelled_it_and_one_that_was_stopped_becomes_the_same(tmp_path: Path) -> None:
    raw = changed({"runtime": "ort-fp32"}, method="fkd", labels={"crops": 2}, options={"crops_per_image": 2})
    recipe = loaded(tmp_path, raw)
    with pytest.raises(InterruptedRun):
        label_recipe(recipe, runs=tmp_path / "stopped", deadline_s=0.0)
    (stopped,) = label_recipe(recipe, runs=tmp_path / "stopped")
    kept = Path("toy") / "teachers"
    shutil.copytree(tmp_path / "stopped" / kept, tmp_path / "whole" / kept)  # exported once
    (whole,) = label_recipe(recipe, runs=tmp_path / "whole")
    assert whole.folder.name == stopped.folder.name
    assert label_toys.contents(stopped.folder) == label_toys.contents(whole.folder)

    (ran,) = open_store(whole.folder).header.runtimes or ()
    assert (ran.number, ran.teacher, ran.runtime, ran.rows) == (0, "cifar:resnet8", "ort-fp32", 40)
    assert ran.kl < 1e-9
    assert ran.agreement == 1.0
    (line,) = [one for one in _facts(inspect_store(whole.folder)) if one.startswith("runtime")]
    assert line.startswith("runtime    cifar:resnet8 ran on ort-fp32 (CPUExecutionProvider): mean KL ")
