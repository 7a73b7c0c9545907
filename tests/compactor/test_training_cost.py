"""`plan --cost`: what a step is made of, and what labels of a store cost once."""

import json
from pathlib import Path

from click.testing import CliRunner

from compactor.cli import cli
from compactor.progress import SilentReporter
from compactor.recipe import load_recipe
from compactor.run.data import DataSets
from compactor.run.training_cost import StageCost, training_costs


def costs(*overrides: str) -> dict[str, StageCost]:
    loaded = load_recipe("digits-fkd", overrides)
    return {one.stage: one for one in training_costs(loaded, DataSets(loaded, SilentReporter()))}


def test_live_teachers_run_in_every_step_and_stored_ones_once() -> None:
    teacher, stored = costs().values()
    _, live = costs("stages.1.labels=null", "stages.1.method=kd", "stages.1.options={}").values()
    assert teacher.teachers == []
    assert teacher.training_flops == 3 * teacher.student_flops
    assert stored.teachers == live.teachers == ["stage:teacher"]
    assert stored.teacher_flops == live.teacher_flops == teacher.student_flops
    assert stored.teacher_parameters == teacher.student_parameters > stored.student_parameters
    assert stored.training_flops == 3 * stored.student_flops
    assert live.training_flops == 3 * live.student_flops + teacher.student_flops
    loaded = load_recipe("digits-fkd")
    data = DataSets(loaded, SilentReporter()).open(loaded.recipe.data)
    labels = loaded.recipe.stages[1].labels
    assert labels is not None
    seen = labels.crops * len(data.train) + len(data.select) + len(data.report)
    assert stored.label_flops == seen * teacher.student_flops
    assert live.label_flops == 0
    assert stored.samples == (loaded.recipe.stages[1].epochs or 0) * len(data.train)
    assert stored.total_flops == stored.samples * stored.training_flops + stored.label_flops


def test_the_command_prints_it(tmp_path: Path) -> None:
    run = ["plan", "digits", "--cost", "--runs", str(tmp_path)]
    assert "cost of training" in CliRunner().invoke(cli, run).stdout
    found = json.loads(CliRunner().invoke(cli, [*run, "--json"]).stdout)
    assert all(one["training_flops"] >= 3 * one["student_flops"] > 0 for one in found["costs"])
    refused = CliRunner().invoke(cli, [*run, "--sizes"])
    assert "give one" in str(refused.exception)
