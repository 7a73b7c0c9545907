"""The methods as rows and as the lines of a stage, and what `compactor methods` prints of them."""

import json
from pathlib import Path

import pytest
import yaml

from compactor.methods import METHODS, method_named
from compactor.methods.table import FILL_IN, method_row, method_rows, required_options, stage_yaml
from compactor.recipe.load import parse_recipe
from tests.command_line import compactor


def test_a_row_says_how_teachers_are_asked_and_whether_unlabelled_data_will_do() -> None:
    found = {row.name: (row.teachers, row.unlabelled) for row in method_rows()}
    assert list(found) == list(METHODS)
    assert found["supervised"] == ("none", "no")
    assert found["kd"] == ("live or a label store", "without that share")
    assert found["fkd"] == ("a label store", "yes")
    assert found["encoder"][0] == "live"
    assert (method_row("meal_v2").page, method_row("ferkd").page) == ("meal-v2.md", "fkd-ferkd.md")


@pytest.mark.parametrize("name", METHODS)
def test_the_lines_of_a_stage_are_a_recipe_with_every_default(name: str) -> None:
    stages = yaml.safe_load(stage_yaml(name))["stages"]
    of_subclasses = method_named(name, "").trains_subclasses
    if required_options(method_named(name, "")):
        assert FILL_IN in stages[0]["options"].values()
        return
    of_vectors = method_named(name, "").activations == {"none"}
    recipe = {
        "name": "toy",
        "task": "embedding" if of_vectors else "image-classification",
        "data": {"dataset": "texts.csv", "tokenizer": "t.json"} if of_vectors else {"dataset": "digits"},
        "student": {"model": "cifar:resnet8"} | ({"subclasses": 5} if of_subclasses else {}),
        "teachers": [{"model": "cifar:resnet8", "weights": "w.safetensors"}],
        "stages": stages,
    }
    (stage,) = parse_recipe(recipe).stages
    method = method_named(name, "")
    assert (stage.labels is not None) == (method.build is None)
    assert method.options(**stage.options) is not None


def test_the_command_lists_all_and_tells_of_one(tmp_path: Path) -> None:
    listed = json.loads(compactor("methods", "--json", cwd=tmp_path).stdout)
    assert [row["name"] for row in listed] == list(METHODS)
    told = json.loads(compactor("methods", "kd", "--json", cwd=tmp_path).stdout)
    keys = {key["name"]: (key["kind"], key["default"]) for key in told["options"]["Options"]["keys"]}
    assert keys["temperature"] == ("number > 0", "4.0")
    kinds, usual = keys["divergence"]
    assert {"js", "kl", "soft_ce", "sym_kl"} <= set(kinds.split(", "))
    assert usual == "kl"
    assert "kd" in told["stage"]
    for text in (
        compactor("methods", cwd=tmp_path).stdout,
        compactor("methods", "ferkd", cwd=tmp_path).stdout,
    ):
        assert "ferkd" in text
    one = compactor("methods", "ferkd", cwd=tmp_path).stdout
    assert "docs/methods/fkd-ferkd.md" in one
    assert "Options.Thresholds" in one
    assert "    labels: {crops: 16}" in one


def test_an_unknown_name_is_answered_with_the_nearest(tmp_path: Path) -> None:
    done = compactor("methods", "fer_kd", cwd=tmp_path)
    assert done.returncode == 2
    assert "did you mean 'ferkd'?" in done.stderr
