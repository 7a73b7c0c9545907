"""Cache keys: every part that decides a stage's result changes its key, and nothing else does."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from compactor.cache import digest as module
from compactor.cache.code import code_closure
from compactor.cache.digest import digest_of
from compactor.methods import method_named
from compactor.recipe.load import LoadedRecipe, load_recipe
from compactor.run.plan import make_plan
from compactor.targets import TARGETS
from tests.compactor.recipe.test_load import MINIMAL


def loaded(folder: Path, *overrides: str, raw: dict[str, Any] | None = None) -> LoadedRecipe:
    path = folder / "toy.yaml"
    path.write_text(yaml.safe_dump(raw or MINIMAL))
    return load_recipe(str(path), overrides)


def key(recipe: LoadedRecipe, stage: str = "one") -> str:
    return make_plan(recipe, recipe.base / "runs").digests[stage]


def test_digest_does_not_depend_on_key_order() -> None:
    assert (
        digest_of({"a": 1, "b": [1, 2]})
        == digest_of({"b": [1, 2], "a": 1})
        != digest_of({"a": 1, "b": [2, 1]})
    )


def test_every_setting_that_matters_changes_the_key(tmp_path: Path) -> None:
    before = key(loaded(tmp_path))
    assert key(loaded(tmp_path)) == before
    changes = [
        "stages.0.lr=0.2",
        "stages.0.epochs=2",
        "seed=1",
        "stages.0.options.label_smoothing=0.1",
        "data.limit.train=99",
        "student.options.width=8",
        "stages.0.augment.crop=pad",
    ]
    assert len({before, *(key(loaded(tmp_path, change)) for change in changes)}) == 1 + len(changes)
    for change in ("gates.student_vs_teacher.max_drop_points=3", "measure.profile=smoke", "name=other"):
        assert key(loaded(tmp_path, change)) == before


def test_weights_and_versions_enter_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = {**MINIMAL, "student": {"model": "cifar:resnet8", "weights": "w.safetensors"}}
    (tmp_path / "w.safetensors").write_bytes(b"one")
    before = key(loaded(tmp_path, raw=raw))
    (tmp_path / "w.safetensors").write_bytes(b"two")
    assert key(loaded(tmp_path, raw=raw)) != before
    before = key(loaded(tmp_path))
    monkeypatch.setattr(module, "version", lambda package: "0")
    assert key(loaded(tmp_path)) != before


def test_source_of_the_users_module_enters_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    code = tmp_path / "my_models_of_this_test.py"
    code.write_text("def build(num_classes): ...\n")
    raw = {**MINIMAL, "student": {"model": "module:my_models_of_this_test:build"}}
    before = key(loaded(tmp_path, raw=raw))
    code.write_text("def build(num_classes): return None\n")
    os.utime(code)
    assert key(loaded(tmp_path, raw=raw)) != before


def test_closure_holds_what_is_imported_and_no_siblings() -> None:
    """In-function imports are followed; names in tables are not, but where the method names them."""
    targets = [TARGETS[name] for name in method_named("kd", "").targets]
    closure = code_closure(["compactor.methods.kd", "compactor.trainer.fit", *targets])
    assert {"compactor.methods.kd", "compactor.targets.live_teacher", "compactor.objectives.hard_ce"} <= set(
        closure
    )
    assert {"compactor.trainer.checkpoint", "compactor.samplers.shuffle", "compactor.records"} <= set(closure)
    assert not any(name.startswith(("compactor.cli", "compactor.run.pipeline")) for name in closure)
    assert "compactor.methods.supervised" not in closure
    assert "compactor.models.timm_models" not in closure


def test_a_later_stage_depends_on_its_teachers(tmp_path: Path) -> None:
    raw = {
        **MINIMAL,
        "stages": [*MINIMAL["stages"], {"id": "two", "method": "kd", "epochs": 1, "teachers": ["stage:one"]}],
    }
    before = make_plan(loaded(tmp_path, raw=raw), tmp_path).digests
    after = make_plan(loaded(tmp_path, "stages.0.lr=0.2", raw=raw), tmp_path).digests
    assert before["two"] != after["two"]


def test_plan_says_what_cannot_run_here(tmp_path: Path) -> None:
    recipe = loaded(
        tmp_path, "export=[{precision: fp32, required: true}, {format: tensorrt, precision: fp16}]"
    )
    plan = make_plan(recipe, tmp_path)
    actions = {step.id: (step.action, step.reason) for step in plan.steps}
    assert actions["fp32"] == ("run", "")
    assert actions["tensorrt-fp16"][0] == "cannot"
    assert "compactor-toolkit[tensorrt]" in actions["tensorrt-fp16"][1]
    plan.require_runnable()  # an optional variant stops nothing
