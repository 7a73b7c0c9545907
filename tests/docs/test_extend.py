"""The worked example of docs/extend: a method in a file of its own trains a student by the public seams."""

import json
from pathlib import Path

import pytest

from compactor.methods import METHODS, method_named, parse_options
from compactor.progress import SilentReporter
from compactor.recipe.load import load_recipe
from compactor_runtimes import UsageError
from tests.conftest import ROOT

EXTEND = ROOT / "docs" / "extend"


@pytest.fixture
def focal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXTEND))
    monkeypatch.setitem(METHODS, "focal", "focal:METHOD")


@pytest.mark.usefixtures("focal")
def test_options_are_checked_as_those_of_a_shipped_method() -> None:
    with pytest.raises(UsageError, match=r"stages\.1\.options\.gama: unknown option; did you mean 'gamma'"):
        parse_options(method_named("focal", "stages.1"), {"gama": 1}, "stages.1")


@pytest.mark.heavy
@pytest.mark.usefixtures("focal")
def test_the_method_trains_and_ships_a_student(tmp_path: Path) -> None:
    from compactor.run.pipeline import run_recipe
    from compactor_runtimes import load, verify_bundle

    short = ["stages.0.epochs=2", "stages.1.epochs=4", "measure.profile=smoke"]
    recipe = load_recipe(str(EXTEND / "focal.yaml"), short)
    found = run_recipe(recipe, runs=tmp_path, reporter=SilentReporter())
    assert found is not None
    assert verify_bundle(found.bundle)
    lines = (found.bundle.parent / "journal.jsonl").read_text().splitlines()
    terms = [
        line["terms"] for line in map(json.loads, lines) if line.get("stage") == "distil" and "terms" in line
    ]
    losses = [term["focal"] for term in terms]
    assert losses[-1] < losses[0]
    assert all(term.keys() == {"focal", "kl"} for term in terms)
    with load(found.bundle) as model:
        assert len(model.labels) == 10
