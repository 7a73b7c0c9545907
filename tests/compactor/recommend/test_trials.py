"""A setting for a few steps: its schedule is shortened with it, and the report split cannot be read."""

import numpy as np
import pytest

from compactor.data.splits import Dataset
from compactor.recipe.load import LoadedRecipe, load_recipe
from compactor.recommend.candidates import Trial
from compactor.recommend.trials import sealed, shortened, with_setting
from tests import toys


def test_the_whole_schedule_happens_in_the_steps_of_the_trial(tiny: LoadedRecipe) -> None:
    stage = shortened(tiny.recipe.stages[0], 50, full_steps=200, seed=3)
    assert (stage.epochs, stage.steps, stage.seed) == (None, 50, 3)
    assert stage.warmup_epochs == 2.0 * 50 / 200
    assert (stage.schedule, stage.milestones, stage.stop) == ("cosine", [], None)
    kept = load_recipe("tiny.yaml", ["stages.0.schedule=constant", "stages.0.milestones=[]"]).recipe.stages[0]
    assert shortened(kept, 400, full_steps=200).schedule == "constant"
    assert shortened(kept, 400, full_steps=200).warmup_epochs == 2.0


def test_labels_are_made_of_training_samples_alone() -> None:
    loaded = load_recipe("digits-fkd")
    last = loaded.recipe.stages[-1]
    trial = with_setting(loaded, Trial("fkd", last.options, 0.2, last.labels))
    found = trial.recipe.stages[-1]
    assert found.labels is not None
    assert (found.labels.evaluation, found.labels.crops, found.lr) == (False, 8, 0.2)
    assert trial.recipe.stages[:-1] == loaded.recipe.stages[:-1]


def test_a_sealed_report_split_can_be_named_and_not_be_read() -> None:
    split = toys.split()
    data = sealed(Dataset("image-classification", split, split, split, toys.info(), "d"))
    assert len(data.report) == len(split)
    assert data.report.digest == split.digest
    for touch in (
        lambda: data.report.inputs[0],
        lambda: data.report.labels["label"],
        lambda: len(data.report.inputs),
        lambda: list(data.report.labels),
        lambda: np.asarray(data.report.inputs),
        lambda: data.report.labels.items(),
    ):
        with pytest.raises(AssertionError, match="the report split is sealed"):
            touch()
    assert data.select.labels["label"] is split.labels["label"]
