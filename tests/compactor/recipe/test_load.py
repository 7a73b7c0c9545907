"""Recipes: found, overridden, and every mistake answered with path, found, expected, nearest key."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from compactor.recipe.load import load_recipe, parse_recipe, recipe_names, schema, smoke, to_yaml
from compactor_runtimes.errors import UsageError

MINIMAL: dict[str, Any] = {
    "name": "toy",
    "task": "image-classification",
    "data": {"dataset": "digits"},
    "student": {"model": "cifar:resnet8"},
    "stages": [{"id": "one", "method": "supervised", "epochs": 1}],
}


def changed(path: str, value: Any) -> dict[str, Any]:
    raw = copy.deepcopy(MINIMAL)
    node: Any = raw
    *parents, last = path.split(".")
    for key in parents:
        node = node[int(key)] if isinstance(node, list) else node.setdefault(key, {})
    node[int(last) if isinstance(node, list) else last] = value
    return raw


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipes_load_and_survive_being_written_out(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name).recipe
    path = tmp_path / "again.yaml"
    path.write_text(to_yaml(recipe))
    assert load_recipe(str(path)).recipe == recipe


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("stages.0.epoch", 3, r"recipe stages\.0\.epoch: unknown key; did you mean 'epochs'\?"),
        ("dta", {}, r"recipe dta: unknown key; did you mean 'data'\?"),
        ("gates.artifact_vs_student.min_agrement", {}, r"unknown key; did you mean 'min_agreement'\?"),
        ("stages.0.lr", "fast", r"recipe stages\.0\.lr: got 'fast', expected float"),
        ("stages.0.lr", -0.1, r"recipe stages\.0\.lr: got -0\.1, expected `?float`? > 0"),
        ("stages.0.batch_size", 1.5, r"recipe stages\.0\.batch_size: got 1\.5, expected int"),
        ("task", "image-clasification", r"recipe task: got 'image-clasification'"),
        ("stages", [], r"recipe stages: there are none, so student\.weights must name"),
        ("stages.0.method", "kdd", r"stages\.0\.method: unknown method 'kdd'; did you mean 'kd'\?"),
        (
            "stages.0.options",
            {"smoothing": 0.1},
            r"options\.smoothing: unknown option; did you mean 'label_smoothing'\?",
        ),
        ("stages.0.options", {"label_smoothing": 2}, r"options\.label_smoothing: Expected float < 1"),
        ("stages.0.steps", 5, r"give either epochs or steps \(found both\)"),
        ("stages.0.init", "stage:two", r"'stage:two' names no earlier stage \(this is the first stage\)"),
        ("stages.0.method", "kd", r"stages\.0\.teachers: method 'kd' needs at least one"),
        ("stages.0.nesterov", True, None),
        ("data.dataset", None, r"recipe data\.dataset: got None, expected str"),
        ("data.classes", [True, False], r"recipe data\.classes\.0: got True, expected str; put it in quotes"),
        (
            "data.classes",
            [2, 0, 1],
            r"data\.classes\.0: got 2, expected str; put it in quotes: YAML reads yes",
        ),
        ("student.aliases", {True: "a"}, r"student\.aliases: got True, expected str; put it in quotes"),
        ("student.aliases", {"a": 1}, r"student\.aliases: got 1, expected str; put it in quotes"),
        ("export", [{"precision": "fp32"}, {"precision": "fp32"}], r"'fp32' is listed twice"),
        ("name", "../escape", r"recipe name: got '\.\./escape', expected str matching regex"),
    ],
)
def test_mistakes_are_answered_in_one_sentence(path: str, value: Any, message: str | None) -> None:
    raw = changed(path, value)
    if message is None:
        assert parse_recipe(raw).stages[0].nesterov
        return
    with pytest.raises(UsageError, match=message) as caught:
        parse_recipe(raw)
    assert "\n" not in str(caught.value)


def test_teachers_must_have_weights_and_a_known_form() -> None:
    for teacher, message in (
        ({"model": "cifar:resnet20"}, r"cifar:resnet20 has no weights; give weights"),
        ("resnet20", r"'resnet20' is neither a model nor of the form stage:ID"),
    ):
        raw = changed("stages.0.method", "kd") | {"teachers": [teacher]}
        with pytest.raises(UsageError, match=message):
            parse_recipe(raw)


def test_who_judges_the_last_stage_must_exist_though_it_learns_from_nobody() -> None:
    """Its own student may stand there: the recipe names a teacher that other stages learn from."""
    with pytest.raises(UsageError, match=r"stages\.0\.teachers: 'stage:nowhere' names no earlier"):
        parse_recipe({**MINIMAL, "teachers": ["stage:nowhere"]})
    parse_recipe({**MINIMAL, "teachers": ["stage:one"]})


def test_stage_references_reach_back_only() -> None:
    raw = copy.deepcopy(MINIMAL)
    raw["stages"].append({"id": "two", "method": "kd", "epochs": 1, "teachers": ["stage:one"]})
    assert parse_recipe(raw).stages[1].teachers == ["stage:one"]
    raw["stages"].reverse()
    with pytest.raises(UsageError, match="'stage:one' names no earlier stage"):
        parse_recipe(raw)


def test_overrides(tmp_path: Path) -> None:
    path = tmp_path / "toy.yaml"
    path.write_text(yaml.safe_dump(MINIMAL))
    overrides = ["stages.0.epochs=3", "stages.0.lr=1e-3", "data.limit.train=100", "seed=7"]
    loaded = load_recipe(str(path), overrides)
    stage = loaded.recipe.stages[0]
    assert (stage.epochs, stage.lr, loaded.recipe.data.limit, loaded.recipe.seed) == (
        3,
        0.001,
        {"train": 100},
        7,
    )
    assert loaded.command() == f"compactor run {path} " + " ".join(f"--set {item}" for item in overrides)
    for override, message in (
        ("stages.3.epochs=1", r"'3' is no index into a list of 1"),
        ("stages.0.epoch=1", r"did you mean 'epochs'"),
        ("seed", r"expected key\.path=value"),
        ("name.x=1", r"plain value"),
        ("seed=[1", r"the value is not YAML"),
    ):
        with pytest.raises(UsageError, match=message):
            load_recipe(str(path), [override])


def test_values_with_spaces_are_quoted_in_the_command_that_goes_on() -> None:
    loaded = load_recipe("digits", ["licences.data=a b"])
    assert loaded.command() == "compactor run digits --set 'licences.data=a b'"


@pytest.mark.parametrize(
    ("encoding", "says"),
    [
        ("latin-1", r"recipe .*x\.yaml: is not UTF-8, line 2 holds the byte 0xE9; save it as UTF-8"),
        ("utf-16", r"recipe .*x\.yaml: is UTF-16, as its first bytes say, expected UTF-8"),
        ("utf-32", r"recipe .*x\.yaml: is UTF-32"),
    ],
)
def test_other_text_than_utf_8_is_named(tmp_path: Path, encoding: str, says: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes("name: x\ntask: café\n".encode(encoding))
    with pytest.raises(UsageError, match=says):
        load_recipe(str(path))


def test_not_found_and_not_yaml(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"did you mean 'digits'\?"):
        load_recipe("digit")
    with pytest.raises(UsageError, match=r"no such file"):
        load_recipe("missing.yaml")
    path = tmp_path / "bad.yaml"
    path.write_text("a: [1\n")
    with pytest.raises(UsageError, match=r"is not YAML"):
        load_recipe(str(path))
    path.write_text("- 1\n")
    with pytest.raises(UsageError, match=r"a mapping of keys was expected, found list"):
        load_recipe(str(path))
    path.write_text("a: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(UsageError, match=r"could not determine a constructor"):
        load_recipe(str(path))


def test_schema_names_every_key_of_the_recipe() -> None:
    definitions = schema()["$defs"]
    assert {"name", "data", "teachers", "student", "stages", "export", "gates", "measure"} <= set(
        definitions["Recipe"]["properties"]
    )
    assert definitions["Recipe"]["additionalProperties"] is False


def test_without_stages_the_students_own_weights_are_shipped() -> None:
    raw = changed("stages", [])
    raw["student"] = {"model": "cifar:resnet8", "weights": "trained.safetensors"}
    assert parse_recipe(raw).stages == []
    raw["teachers"] = [{"model": "cifar:resnet20"}]
    with pytest.raises(UsageError, match=r"recipe teachers: cifar:resnet20 has no weights"):
        parse_recipe(raw)


def test_text_data_get_the_tokenizer_of_the_student_and_else_of_a_teacher() -> None:
    raw = changed("task", "text-classification")
    raw["student"] = {"model": "hf:small"}
    assert parse_recipe(raw).data.tokenizer == "hf:small"
    raw["student"] = {"model": "module:nets:Small"}
    raw["stages"][0] |= {"teachers": [{"model": "package:big/model", "weights": "pretrained"}]}
    with pytest.raises(UsageError, match=r"recipe data\.tokenizer: absent, and neither student nor teachers"):
        parse_recipe(raw)
    raw["teachers"] = raw["stages"][0].pop("teachers")
    assert parse_recipe(raw).data.tokenizer == "package:big/model"
    raw["data"] = {**raw["data"], "tokenizer": "own/tokenizer.json"}
    assert parse_recipe(raw).data.tokenizer == "own/tokenizer.json"


def test_embeddings_and_classes_need_methods_of_their_kind() -> None:
    raw = changed("task", "embedding")
    raw["student"] = {"model": "hf:small"}
    with pytest.raises(
        UsageError,
        match="method: 'supervised' compares classes or any number of labels, task embedding answers with",
    ):
        parse_recipe(raw)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"options": {"class_weights": "balanced"}}, r"options\.class_weights: weighs single classes"),
        ({"method": "kd", "labels": {}}, r"labels: a label store keeps one distribution over classes"),
        (
            {"method": "meal_v2"},
            r"'meal_v2' compares classes, task image-multi-label answers with any",
        ),
        ({"method": "fkd", "labels": {"crops": 8}}, r"'fkd' compares classes, task image-multi-label"),
    ],
)
def test_what_is_for_single_classes_is_refused_of_sets_of_labels(changes: dict[str, Any], said: str) -> None:
    raw = changed("task", "image-multi-label")
    raw["data"] = {"dataset": "table.jsonl"}
    raw["teachers"] = [{"model": "cifar:resnet8", "weights": "w.safetensors"}]
    parse_recipe(raw)
    raw["stages"][0] |= changes
    with pytest.raises(UsageError, match=said):
        parse_recipe(raw)


def test_sets_of_labels_are_never_rejected_as_a_whole() -> None:
    raw = changed("task", "image-multi-label")
    with pytest.raises(UsageError, match="answers with no single class of a sample"):
        parse_recipe(raw | {"reject": {"keep": 0.9}})


def test_a_smoke_recipe_keeps_every_step_and_shrinks_each() -> None:
    loaded = load_recipe(
        "digits", ["gates.student_vs_teacher.max_drop_points=1", "stages.0.data={dataset: digits}"]
    )
    small = smoke(loaded)
    assert small.at_most == 256
    assert small.recipe.name == "digits-smoke"
    assert [stage.id for stage in small.recipe.stages] == ["teacher-a", "teacher-b", "distil"]
    assert {(stage.steps, stage.epochs, stage.batch_size) for stage in small.recipe.stages} == {(2, None, 8)}
    assert (
        small.recipe.data.limit
        == small.recipe.stages[0].data.limit
        == {"train": 32, "select": 32, "report": 32}
    )
    assert small.recipe.gates.student_vs_teacher.max_drop_points is None
    assert small.recipe.export == loaded.recipe.export
    assert small.recipe.measure.profile == "smoke"
    assert small.command().endswith("--smoke")
