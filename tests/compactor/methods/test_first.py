"""`method: first` and the store it learns from: what is refused before anything is labelled or trained."""

import json
from pathlib import Path
from typing import Any

import pytest

from compactor.cache.journal import Journal
from compactor.progress import SilentReporter
from compactor.recipe.load import LoadedRecipe, parse_recipe
from compactor.run.plan import make_plan
from compactor.run.stages import StageRunner
from compactor_runtimes.errors import UsageError


def recipe(labels: dict[str, Any] | None, **options: Any) -> dict[str, Any]:
    length = {"steps": 3, "batch_size": 20}
    return {
        "name": "toy",
        "task": "image-classification",
        "data": {"dataset": "digits", "limit": {"train": 60, "select": 40, "report": 40}},
        "student": {"model": "cifar:resnet8", "options": {"width": 4}},
        "stages": [
            {"id": "teacher", "method": "supervised", **length},
            {
                "id": "distil",
                "method": "first",
                "teachers": ["stage:teacher"],
                "options": options,
                **length,
                **({} if labels is None else {"labels": labels}),
            },
        ],
    }


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ({"quantization": "hard"}, {}, r"labels\.quantization: hard found.*marginal-smoothing or full"),
        ({"quantization": "marginal-renorm"}, {}, r"quantization: marginal-renorm found"),
        ({"k": 3}, {}, r"options\.k: 5 found, but labels\.k keeps 3"),
        ({"evaluation": False}, {}, r"options\.c: absent, but with labels\.evaluation: false"),
        (None, {"k": 1}, r"options\.k"),
        (None, {"c": 1.5}, r"options\.c"),
    ],
)
def test_a_store_without_what_it_reads_is_refused(
    labels: dict[str, Any] | None, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        parse_recipe(recipe(labels, **options))


def test_a_store_with_what_it_reads_is_fine() -> None:
    for labels, options in (
        ({"k": 3}, {"k": 3}),
        ({"quantization": "full"}, {}),
        ({"evaluation": False}, {"c": 0.3}),
        (None, {}),
    ):
        parse_recipe(recipe(labels, **options))


@pytest.mark.slow
@pytest.mark.parametrize("labels", [None, {"crops": 2}])
def test_c_is_chosen_and_kept_beside_the_student(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labels: dict[str, Any] | None
) -> None:
    monkeypatch.setenv("COMPACTOR_CACHE", str(tmp_path / "cache"))
    loaded = LoadedRecipe(parse_recipe(recipe(labels)), tmp_path, "toy", at_most=256)
    plan = make_plan(loaded, tmp_path / "runs")
    assert any("c is chosen on select" in note for note in plan.notes)
    runner = StageRunner(plan, SilentReporter(), Journal(None))
    *_, folder = [runner.run(stage) for stage in plan.stages]
    kept = json.loads((folder / "targets.json").read_text())["recalibration"]["label"]
    assert 0 < kept["c"] <= 1
    assert 0 <= kept["ece_after"] <= 1
