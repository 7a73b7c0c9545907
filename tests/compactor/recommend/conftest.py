"""A recipe that is searched in a moment: 150 digits, a tiny student, no teacher."""

from pathlib import Path

import pytest

from compactor.recipe.load import LoadedRecipe, load_recipe

RECIPE = """\
# mine
name: tiny
task: image-classification
data: {dataset: digits, limit: {train: 150, select: 60}}
student: {model: cifar:resnet8, options: {width: 4}}
stages:
  - id: train
    method: dml
    options: {mutual_weight: 0.5}  # half of the usual
    epochs: 40
    lr: 0.05
    batch_size: 32
    schedule: step
    milestones: [20, 30]
    warmup_epochs: 2.0
    stop: {figure: accuracy, patience: 5}
"""


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoadedRecipe:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    return load_recipe("tiny.yaml")
