"""Whether a student can be exported is found before it is trained: what is tried, kept, and said."""

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import yaml

from compactor.progress import SilentReporter
from compactor.recipe.load import load_recipe, smoke
from compactor.recipe.spec import ModelSpec
from compactor.run import traced
from compactor.run.plan import make_plan
from compactor.run.traced import Traced, require_exportable, trace
from tests import toys
from tests.command_line import compactor

STUDENTS = "module:tests.compactor.run.students"
PLAIN = ModelSpec(model="module:tests.toys:Mlp")


def tried(model: str, tmp_path: Path, limit_s: float = 120.0) -> Traced:
    return trace(
        ModelSpec(model=model), toys.info(), base=tmp_path, cache=tmp_path / "cache", limit_s=limit_s
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("student", "verdict", "says"),
    [
        ("Branching", "cannot", "torch cannot trace the module"),
        ("Frozen", "cannot", "axis 'batch' is frozen to 2"),
        ("Borrowed", "cannot", "holds weights that are not the student's own"),
        ("Broken", "cannot", "KeyError|torch cannot trace"),
        ("dies", "not known", "the trial ended with status 7"),
        ("absent", "cannot", "has no 'absent'|no attribute"),
    ],
)
def test_a_trial_says_what_is_wrong_and_keeps_no_failure(student, verdict, says, tmp_path) -> None:
    import re

    found = tried(f"{STUDENTS}:{student}", tmp_path)
    assert (found.verdict, bool(re.search(says, found.why))) == (verdict, True), found
    assert "\n" not in found.why
    assert not (tmp_path / "cache").exists()


def test_a_trial_without_an_end_tells_nothing_and_its_process_ends(tmp_path: Path) -> None:
    found = tried(f"{STUDENTS}:sleeps", tmp_path, limit_s=0.3)
    assert found.verdict == "not known"
    assert found.why == "the trial was not done after 0.3 s and was given up"
    assert found.said_of("x") == f"student x: whether it can be exported is not known: {found.why}"


@pytest.mark.slow
def test_what_worked_is_not_tried_again(tmp_path: Path) -> None:
    first, second = (tried("module:tests.toys:Mlp", tmp_path) for _ in range(2))
    assert (first.verdict, second.verdict) == ("can", "can")
    assert first.seconds is not None
    assert second.seconds is None
    other = trace(PLAIN, toys.info(16), base=tmp_path, cache=tmp_path / "cache", limit_s=0.1)
    assert other.verdict == "not known"  # of another size it would have to be tried


def test_a_cache_that_cannot_be_written_only_costs_the_next_trial(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    traced._keep(tmp_path / "file" / "traces" / "x.json", b"")


def test_the_key_changes_with_what_decides_and_with_nothing_else(tmp_path: Path) -> None:
    info = toys.info()
    key = traced._key(PLAIN, info, tmp_path)
    other = {
        "options": traced._key(msgspec.structs.replace(PLAIN, options={"hidden": 8}), info, tmp_path),
        "model": traced._key(ModelSpec(model="cifar:resnet8"), info, tmp_path),
        "size": traced._key(PLAIN, toys.info(16), tmp_path),
        "channels": traced._key(PLAIN, toys.info(channels=3), tmp_path),
        "classes": traced._key(PLAIN, toys.info(classes=["a", "b"]), tmp_path),
    }
    assert len({key, *other.values()}) == 1 + len(other)
    assert traced._key(PLAIN, toys.info(classes=["x", "y", "z"]), tmp_path) == key  # only names


@pytest.mark.parametrize(
    "package", ["torch", "onnx", "onnx-ir", "onnxscript", "onnxslim", "onnxruntime", "timm"]
)
def test_the_key_changes_with_versions(package, tmp_path, monkeypatch) -> None:
    key = traced._key(PLAIN, toys.info(), tmp_path)
    known = traced.tool_versions(traced.TOOLS)
    assert package in known
    monkeypatch.setattr(traced, "tool_versions", lambda names: known | {package: "0"})
    assert traced._key(PLAIN, toys.info(), tmp_path) != key


def test_without_the_exporter_nothing_is_checked_and_that_is_said(tmp_path, monkeypatch) -> None:
    import compactor_exporters

    monkeypatch.setattr(compactor_exporters, "find_spec", lambda name: None if name == "onnxslim" else True)
    found = tried("module:tests.toys:Mlp", tmp_path)
    assert found.verdict == "not checked"
    assert "compactor-toolkit[export]" in found.why


def test_nothing_is_tried_where_nothing_is_lost(tmp_path: Path) -> None:
    """No export is asked for; a smoke run; everything is trained already. A trial would be started else."""
    reporter = SilentReporter()
    whole = make_plan(load_recipe("digits"), tmp_path)
    without = replace(whole, exports=[])
    small = make_plan(smoke(load_recipe("digits")), tmp_path)
    trained = replace(whole, stages=[replace(stage, action="reuse") for stage in whole.stages])
    for plan in (without, small, trained, replace(whole, blocked={"distil": "no such machine"})):
        assert require_exportable(plan, reporter) is None


RECIPE = {
    "name": "toy",
    "task": "image-classification",
    "data": {"dataset": "digits"},
    "stages": [
        {"id": "warm-up", "method": "supervised", "epochs": 1, "student": {"model": f"{STUDENTS}:Branching"}},
        {"id": "last", "method": "supervised", "epochs": 1},
    ],
    "measure": {"scenarios": []},
}


def write(tmp_path: Path, student: str) -> None:
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(RECIPE | {"student": {"model": student}}))


@pytest.mark.slow
@pytest.mark.parametrize("command", [["run"], ["plan"], ["plan", "--json"]])
def test_a_student_that_cannot_be_exported_stops_before_anything_is_trained(command, tmp_path) -> None:
    write(tmp_path, f"{STUDENTS}:Borrowed")
    done = compactor(command[0], "toy.yaml", *command[1:], cwd=tmp_path)
    assert done.returncode == 2
    said = json.loads(done.stdout)["message"] if "--json" in command else done.stderr
    assert f"student {STUDENTS}:Borrowed: cannot be exported, so nothing was trained: " in said
    assert "not the student's own" in said
    assert "--no-trace" in said
    assert not list(tmp_path.glob("runs/toy/*"))


@pytest.mark.slow
def test_no_trace_trains_all_the_same(tmp_path: Path) -> None:
    write(tmp_path, f"{STUDENTS}:Borrowed")
    assert compactor("plan", "toy.yaml", "--no-trace", cwd=tmp_path).returncode == 0
    done = compactor("run", "toy.yaml", "--no-trace", cwd=tmp_path)
    assert "not the student's own" in done.stderr
    assert len(list(tmp_path.glob("runs/toy/stages/*/done.json"))) == 2


@pytest.mark.slow
def test_only_the_student_that_ships_is_tried(tmp_path: Path) -> None:
    """The stage before it trains one that cannot be exported."""
    write(tmp_path, "module:tests.toys:Mlp")
    found = json.loads(compactor("plan", "toy.yaml", "--json", cwd=tmp_path).stdout)
    assert found["trace"]["verdict"] == "can"
    assert "can be exported" in compactor("plan", "toy.yaml", cwd=tmp_path).stdout


def test_no_trace_has_no_effect_on_sizes(tmp_path: Path) -> None:
    done = compactor("plan", "digits", "--sizes", "--no-trace", cwd=tmp_path)
    assert (done.returncode, "--no-trace: has no effect" in done.stderr) == (2, True)
