"""From images to a student: a teacher that is a stage chooses the pool, and the next stage trains on it."""

import os
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import yaml

from compactor.cache.folder import STUDENT, WEIGHTS
from compactor.cache.journal import Journal
from compactor.data.pool_file import read_pool
from compactor.progress import SilentReporter
from compactor.recipe.load import load_recipe
from compactor.run.data import DataSets
from compactor.run.plan import make_plan
from compactor.run.planned import Plan
from compactor.run.stages import StageRunner
from tests.compactor import pool_toys


def planned(folder: Path) -> Plan:
    loaded = load_recipe(str(folder / "recipe.yaml"))
    with patch.dict(os.environ, pool_toys.cache(folder)):
        return make_plan(loaded, folder / "runs", data=DataSets(loaded, SilentReporter()))


@pytest.mark.heavy
def test_a_stage_trains_on_the_pool_that_an_earlier_stage_chose(unbuilt: Path) -> None:
    recipe = yaml.safe_load((unbuilt / "recipe.yaml").read_text())
    mixed = recipe["data"]
    recipe["data"] = {"dataset": "digits", "limit": pool_toys.LIMIT}
    teacher = {"id": "teacher", "method": "supervised", "epochs": 12, "batch_size": 32, "lr": 0.1}
    recipe["stages"] = [teacher, recipe["stages"][0] | {"data": mixed, "teachers": ["stage:teacher"]}]
    recipe["teachers"] = ["stage:teacher"]
    (unbuilt / "recipe.yaml").write_text(yaml.safe_dump(recipe))

    done = pool_toys.build(unbuilt)
    assert done.returncode == 0, done.stderr
    pool = read_pool(unbuilt / "runs/toy/pool")
    assert pool.record.teachers[0]["weights"]

    plan = planned(unbuilt)
    first, second = plan.stages
    assert first.action == "reuse"  # trained for the pool, and the same to the run
    assert second.data.train.parts[0][0] == 200
    assert 0 < second.data.train.parts[1][0] <= pool.record.kept
    judged = first.data
    for split in (judged.select, judged.report):
        images = {image.tobytes() for image in split.inputs[split.rows]}
        rows = second.data.train.rows[200:]
        assert not {image.tobytes() for image in second.data.train.inputs[rows]} & images
    runner = StageRunner(plan, SilentReporter(), Journal(None))
    runner.run(first)
    folder = runner.run(second)
    assert (folder / STUDENT / WEIGHTS).is_file()

    assert pool_toys.build(unbuilt, "--set", "pool.take.top=5").returncode == 0
    again = planned(unbuilt).stages[1]
    assert (again.action, again.digest != second.digest) == ("run", True)
    rows = read_pool(unbuilt / "runs/toy/pool").parts[1].rows
    assert np.isin(rows, pool.parts[1].rows).all()
