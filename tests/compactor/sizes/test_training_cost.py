"""`plan --cost`: what a step is made of, and what labels of a store cost once."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from compactor.cli import cli
from compactor.progress import SilentReporter
from compactor.recipe.load import load_recipe
from compactor.run.data import DataSets
from compactor.run.plan import make_plan
from compactor.sizes import workshop
from compactor.sizes.training_cost import StageCost, training_costs
from tests.compactor.models.test_encoder import build, every_norm, info_of
from tests.compactor.tasks.test_tasks import sentences
from tests.compactor.text_toys import IDS, bert_folder, text_info


def costs(*overrides: str) -> dict[str, StageCost]:
    plan = make_plan(load_recipe("digits-fkd", overrides), Path("runs"))
    return {one.stage: one for one in training_costs(plan)}


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


def test_two_networks_that_teach_each_other_cost_two_trainings() -> None:
    changes = ("stages.1.labels=null", "stages.1.method=dml", "stages.1.options={}", "stages.1.teachers=[]")
    mutual = costs(*changes)["distil"]
    assert mutual.training_flops == 2 * 3 * mutual.student_flops


def test_copies_of_a_sample_cost_a_training_each() -> None:
    changes = ("stages.1.labels=null", "stages.1.method=sla", "stages.1.options={rotations: 2}")
    copied = costs(*changes, "stages.1.teachers=[]")["distil"]
    assert copied.training_flops == 2 * 3 * copied.student_flops


def test_a_subset_costs_its_share() -> None:
    whole, part = (
        costs("stages.1.options={}", *sampler)["distil"]
        for sampler in ((), ("stages.1.sampler={name: subset, options: {share: 0.25}}",))
    )
    epochs = load_recipe("digits-fkd").recipe.stages[1].epochs or 0
    assert part.samples == epochs * round(0.25 * whole.samples / epochs)
    assert part.training_flops == whole.training_flops


def test_the_command_prints_it(tmp_path: Path) -> None:
    run = ["plan", "digits", "--cost", "--no-trace", "--runs", str(tmp_path)]
    assert "cost of training" in CliRunner().invoke(cli, run).stdout
    found = json.loads(CliRunner().invoke(cli, [*run, "--json"]).stdout)
    assert all(one["training_flops"] >= 3 * one["student_flops"] > 0 for one in found["costs"])
    refused = CliRunner().invoke(cli, [*run, "--sizes"])
    assert "give one" in str(refused.exception)


def flops_of(layers: int, d: int, f: int, tokens: int) -> int:
    """Products of an encoder: four projections, two of the feed-forward part, scores and their use."""
    return layers * (2 * tokens * (4 * d * d + 2 * d * f) + 4 * tokens * tokens * d)


@pytest.mark.slow
@every_norm
def test_flops_of_an_encoder_need_shapes_alone(norm: str, tmp_path: Path) -> None:
    info = info_of(tmp_path, "masked-lm")
    with torch.device("meta"):
        shapes = build("encoder:3x64", info, norm=norm, intermediate=100)
    weights = build("encoder:3x64", info, norm=norm, intermediate=100)
    inputs = list(weights.example(1).values())
    guessed = len(inputs[2])
    assert (inputs[0].shape, guessed) == ((1, 8), 4)
    expected = flops_of(3, 64, 100, 8) + 2 * guessed * (64 * 64 + 64 * IDS)
    assert workshop.count_flops(shapes.deploy(), inputs) == expected
    assert workshop.count_flops(weights.deploy(), inputs) == expected


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_flops_of_a_transformers_classifier_need_shapes_alone(attention: str, tmp_path: Path) -> None:
    folder, info = bert_folder(tmp_path / "bert", num_labels=3), text_info(tmp_path)
    with torch.device("meta"):
        shapes = build(f"hf:{folder}", info, attn_implementation=attention)
    inputs = list(shapes.example(1).values())
    expected = flops_of(4, 16, 24, 8) + 2 * (16 * 16 + 16 * 3)  # pooler and classifier
    assert workshop.count_flops(shapes.deploy(), inputs) == expected


def text_recipe(folder: Path, *stages: str) -> Path:
    spec = sentences(folder)
    lines = [
        "name: chain",
        "task: text-classification",
        f"data: {{dataset: {spec.dataset}, tokenizer: {spec.tokenizer}, max_tokens: {spec.max_tokens}}}",
        "stages:",
        *(f"  - {{{stage}, epochs: 2}}" for stage in stages),
    ]
    (folder / "chain.yaml").write_text("\n".join(lines), encoding="utf-8")
    return folder / "chain.yaml"


class OneDataset:
    """Opens a recipe's data once, for whatever task a stage has."""

    def __init__(self, opened: Any) -> None:
        self.opened, self.asked = opened, []

    def open(self, spec: Any, task: str) -> Any:
        self.asked.append(task)
        return self.opened


def test_text_encoders_are_counted_by_part_without_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = text_recipe(
        tmp_path,
        "id: large, method: supervised, student: {model: 'encoder:3x64'}",
        "id: small, method: kd, teachers: ['stage:large', 'stage:large'], student: {model: 'encoder:2x32'}",
    )
    loaded = load_recipe(str(recipe))
    from compactor.tasks import task_named

    data = OneDataset(task_named("text-classification").open(loaded.recipe.data, base=tmp_path))
    count = workshop.count_flops

    def without_weights(module: Any, inputs: Any) -> int:
        assert all(parameter.is_meta for parameter in module.parameters())
        return count(module, inputs)

    monkeypatch.setattr(workshop, "count_flops", without_weights)
    plan = make_plan(loaded, tmp_path / "runs", data=data)  # type: ignore[arg-type]
    large, small = training_costs(plan)
    assert data.asked == ["text-classification"] * 2
    # 16 words, 6 positions and a token type of width d, with a LayerNorm; d x 3 classes and their bias
    parts = {d: {"embeddings": 23 * d + 2 * d, "encoder": 0, "heads": 3 * (d + 1)} for d in (64, 32)}
    parts[64]["encoder"], parts[32]["encoder"] = (n * (12 * d * d + 13 * d) for n, d in ((3, 64), (2, 32)))
    assert (large.student_parts, small.student_parts) == (parts[64], parts[32])
    assert (large.teacher_parts, small.teacher_parts) == (
        None,
        {part: 2 * number for part, number in parts[64].items()},
    )
    assert sum(parts[32].values()) == small.student_parameters
    tokens = workshop.Workshop(loaded, data.opened, tmp_path).feed_shapes["input_ids"][1]
    assert small.student_flops == flops_of(2, 32, 128, tokens) + 2 * 32 * 3
    from compactor.cli import plan_command

    table = plan_command._parts_table([large, small])
    assert [list(column.cells) for column in table.columns[:3]] == [
        ["large", "small", "small"],
        ["student encoder:3x64", "student encoder:2x32", "teachers stage:large, stage:large"],
        ["1.60 k", "800", "3.20 k"],
    ]
