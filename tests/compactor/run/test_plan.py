"""What a plan says: of exports, of measuring, of stages that cannot run; and that it reads a model once."""

import sys
from pathlib import Path

import pytest
import yaml

from compactor.cache.code import code_closure
from compactor.data.spec import DataSpec
from compactor.data.splits import Dataset
from compactor.models import references
from compactor.recipe.load import load_recipe
from compactor.run import labels
from compactor.run.data import DataSets
from compactor.run.plan import make_plan
from compactor_runtimes.errors import UnfitEnvironmentError


def exports(tmp_path: Path, *entries: str) -> dict[str, str]:
    """Details by name, of the embedded data set."""
    loaded = load_recipe("digits", [f"export=[{', '.join(entries)}]"])
    return {step.id: step.detail for step in make_plan(loaded, tmp_path).steps if step.kind == "export"}


def test_it_says_what_static_int8_is_calibrated_on_and_what_is_optional(tmp_path: Path) -> None:
    found = exports(
        tmp_path,
        "{precision: fp32, required: true}",
        "{precision: int8, quantization: static}",
        "{precision: fp16, override: the target has no fp32}",
    )
    assert found == {
        "fp32": "required",
        "int8-static": "optional; calibrated on 256 samples of train (minmax)",
        "fp16": "optional; ships even if a gate fails: the target has no fp32",
    }
    split = "{precision: int8, quantization: static, calibration: {split: select, samples: 40}, scheme: u8u8}"
    assert exports(tmp_path, split) == {
        "int8-static": "optional; calibrated on 40 samples of select (minmax); scheme u8u8"
    }


def test_an_engine_names_its_gpus(tmp_path: Path) -> None:
    found = exports(tmp_path, "{}", "{format: tensorrt-rtx, precision: fp16, target: trt-rtx, gpus: [sm89]}")
    assert list(found.values())[1] == "optional; for sm89"


def test_an_optional_export_that_cannot_be_made_stops_nothing_and_a_required_one_does(tmp_path: Path) -> None:
    kind = "format: tensorrt, precision: int8, quantization: dynamic"  # there is no such exporter
    make_plan(load_recipe("digits", [f"export=[{{}}, {{{kind}}}]"]), tmp_path).require_runnable()
    overridden = f"export=[{{{kind}, required: true, override: it is optional to me}}]"
    plan = make_plan(load_recipe("digits", [overridden]), tmp_path)
    assert [step.action for step in plan.steps if step.kind == "export"] == ["cannot"]
    with pytest.raises(UnfitEnvironmentError, match="has no exporter in this release"):
        plan.require_runnable()


def test_without_scenarios_nothing_is_timed_and_without_loadgen_our_own_driver_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlperf_loadgen", None)  # as if the extra were not installed
    plan = make_plan(load_recipe("digits", ["measure.scenarios=[]"]), tmp_path)
    plan.require_runnable()
    (step,) = (step for step in plan.steps if step.kind == "measure")
    assert (step.action, step.detail) == ("run", "nothing is timed; profile quick")
    make_plan(load_recipe("digits"), tmp_path).require_runnable()


def test_a_model_that_many_stages_name_is_hashed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The student, the same teacher in three stages, one of them with a label store, and an init."""
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"weights")
    teacher = {"model": "cifar:resnet8", "weights": str(weights)}
    stage = {"method": "kd", "epochs": 1}
    recipe = {
        "name": "toy",
        "task": "image-classification",
        "data": {"dataset": "digits"},
        "student": {"model": "cifar:resnet8"},
        "teachers": [teacher],
        "stages": [
            {"id": "one", **stage},
            {"id": "two", **stage, "labels": {"crops": 1}},
            {"id": "three", **stage, "init": str(weights), "teachers": [teacher, "stage:one"]},
        ],
    }
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(recipe))
    read: list[Path] = []
    plain = references.file_digest

    def watched(path: Path) -> str:
        read.append(path)
        return plain(path)

    monkeypatch.setattr(references, "file_digest", watched)
    plan = make_plan(load_recipe(str(tmp_path / "toy.yaml")), tmp_path / "runs")
    assert read == [weights] * 2  # as a teacher and as an init
    assert [stage.teachers for stage in plan.stages] == [
        (plan.stages[0].teachers[0],),
        (plan.stages[0].teachers[0],),
        (plan.stages[0].teachers[0], "stage:one"),
    ]
    one, two, three = plan.stages
    assert one.data is two.data is three.data is plan.data
    assert (one.labels, three.labels) == (None, None)
    assert two.labels is not None
    assert plan.labels == {"two": two.labels.digest}
    assert one.folder == tmp_path / "runs" / "toy" / "stages" / f"one-{one.digest[:12]}"


def test_what_builds_on_a_stage_that_cannot_run_is_blocked_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(self: DataSets, spec: DataSpec, task: str | None = None) -> Dataset:
        raise UnfitEnvironmentError("the hub cannot be reached")

    monkeypatch.setattr(DataSets, "open", unreachable)
    plan = make_plan(load_recipe("digits"), tmp_path)
    assert (plan.stages, plan.data) == ([], None)
    assert list(plan.blocked) == [stage.id for stage in plan.loaded.recipe.stages]
    assert {step.action for step in plan.steps if step.kind == "train"} == {"cannot"}
    for refused in (plan.require_runnable, plan.require_stages):
        with pytest.raises(UnfitEnvironmentError, match=r"^train teacher-\w+: cannot run here: the hub"):
            refused()


def test_the_code_that_runs_the_teachers_is_in_the_key_of_their_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A published teacher: no earlier stage's key holds that code for it."""
    (tmp_path / "w.safetensors").write_bytes(b"weights")
    recipe = {
        "name": "toy",
        "task": "image-classification",
        "data": {"dataset": "digits"},
        "student": {"model": "cifar:resnet8"},
        "teachers": [{"model": "cifar:resnet8", "weights": str(tmp_path / "w.safetensors")}],
        "stages": [{"id": "one", "method": "kd", "epochs": 1, "labels": {"crops": 1}}],
    }
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(recipe))
    covered: set[str] = set()

    def watched(modules: list[str]) -> str:
        covered.update(code_closure(modules))
        return ""

    monkeypatch.setattr(labels, "code_digest", watched)
    make_plan(load_recipe(str(tmp_path / "toy.yaml")), tmp_path / "runs")
    assert {"compactor.teachers", "compactor.models.build", "compactor.models.cifar"} <= covered
    assert {"compactor.mixers.mean", "compactor.label_store.make", "compactor.data.augment"} <= covered


def test_one_sampler_has_one_key_however_it_is_written(tmp_path: Path) -> None:
    keys = {
        make_plan(load_recipe("digits", [f"stages.0.sampler={written}"]), tmp_path).stages[0].digest
        for written in ("shuffle", "{name: shuffle}", "{name: shuffle, options: {}}")
    }
    assert len(keys) == 1


def test_a_stage_with_a_seed_of_its_own_keeps_its_key_under_another_seed_of_the_recipe(
    tmp_path: Path,
) -> None:
    """So the seeds of a student share their teacher."""

    def digests(*overrides: str) -> dict[str, str]:
        return make_plan(load_recipe("digits-fkd", list(overrides)), tmp_path).digests

    first, other = digests("stages.0.seed=0"), digests("stages.0.seed=0", "seed=1")
    teacher, student = first
    assert first[teacher] == other[teacher]
    assert first[student] != other[student]
    assert digests()[teacher] != digests("seed=1")[teacher]


def test_a_policy_without_its_package_is_missed_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = len(load_recipe("digits").recipe.stages) - 1
    monkeypatch.setitem(sys.modules, "torchvision.transforms", None)
    plan = make_plan(load_recipe("digits", [f"stages.{last}.augment.policy=autoaugment"]), tmp_path)
    assert len(plan.stages) == last
    assert [why for why in plan.blocked.values() if "pip install 'compactor-toolkit[vision]'" in why]
