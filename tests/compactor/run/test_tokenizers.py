"""What a plan does with trained models that were trained with another tokenizer than the data's."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from compactor.recipe.load import LoadedRecipe, parse_recipe
from compactor.run.label import label_recipe
from compactor.run.plan import make_plan
from compactor.run.planned import Plan
from compactor_runtimes.errors import UsageError
from tests.compactor.text_toys import WORDS, write_tokenizer, write_wordpiece

LINES = ["turn on the light", "play music now", "what time is it"]
KD = {"id": "distil", "method": "kd", "steps": 1, "batch_size": 4, "lr": 0.01}
OTHER = (
    r"hf:other: was trained with another tokenizer \(.*\) than the data's .* 'turn on the light' is \[2, 15"
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data, and folders of models as a plan reads them: it opens no weights."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COMPACTOR_CACHE", str(tmp_path / "cache"))
    rows = [f"{text},{text[:4]}" for text in LINES] * 8
    Path("talk.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    for name, words in (("bert", WORDS), ("other", [*reversed(WORDS)]), ("bare", WORDS)):
        model_folder(name, write_tokenizer(Path(name), words))
    Path("bare/tokenizer.json").unlink()


def model_folder(name: str, tokenizer: Path) -> None:
    assert tokenizer.parent == Path(name)
    (Path(name) / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (Path(name) / "model.safetensors").write_bytes(b"not opened")


def pretrained(name: str, **more: Any) -> dict[str, Any]:
    return {"model": f"hf:{name}", "weights": "pretrained", **more}


def recipe(**changes: Any) -> LoadedRecipe:
    raw = {
        "name": "toy",
        "task": "text-classification",
        "data": {"dataset": "talk.csv", "tokenizer": "bert", "max_tokens": 8},
        "student": {"model": "encoder:1x32"},
        "stages": [KD],
        "measure": {"scenarios": []},
    }
    return LoadedRecipe(parse_recipe(raw | changes), Path.cwd(), "toy")


def planned(**changes: Any) -> Plan:
    return make_plan(recipe(**changes), Path("runs"))


def test_the_same_tokenizer_needs_no_word() -> None:
    plan = planned(teachers=[pretrained("bert")])
    assert plan.stages[0].data.notes == ()


BESIDE = {"model": "encoder:1x32", "weights": "other/model.safetensors"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"teachers": [pretrained("other")]}, f"^teacher {OTHER}"),
        ({"student": pretrained("other"), "teachers": [pretrained("bert")]}, f"^student {OTHER}"),
        ({"stages": [], "student": pretrained("other")}, f"^student {OTHER}"),
        (
            {"stages": [], "student": pretrained("bert"), "teachers": [pretrained("other")]},
            f"^teacher {OTHER}",
        ),
        ({"teachers": [BESIDE]}, "^teacher encoder:1x32: was trained with another tokenizer"),
        (
            {"teachers": [pretrained("bert")], "stages": [KD | {"init": "other/model.safetensors"}]},
            "^init other/model.safetensors: was trained with another tokenizer",
        ),
    ],
)
def test_another_one_stops_before_training(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        planned(**changes)


def test_an_earlier_stage_has_the_tokenizer_of_its_data() -> None:
    other = {"dataset": "talk.csv", "tokenizer": "other", "max_tokens": 8}
    first = {**KD, "id": "first", "method": "supervised", "data": other}
    with pytest.raises(
        UsageError, match=r"^teacher stage:first: was trained with another .* a model with the data's$"
    ):
        planned(stages=[first, KD | {"teachers": ["stage:first"]}])
    with pytest.raises(UsageError, match=r"^init stage:first: was trained with another"):
        planned(stages=[first, {**KD, "method": "supervised", "init": "stage:first"}])
    same = first | {"data": {**other, "tokenizer": "bert/tokenizer.json"}}
    assert planned(stages=[same, KD | {"teachers": ["stage:first"]}]).stages[1].data.notes == ()


def test_labels_are_not_made_either() -> None:
    labelled = KD | {"method": "fkd", "labels": {"crops": 4}}
    with pytest.raises(UsageError, match=f"^teacher {OTHER}"):
        label_recipe(recipe(teachers=[pretrained("other")], stages=[labelled]), runs=Path("runs"))


def test_what_is_trusted_or_not_compared_is_said() -> None:
    plan = planned(teachers=[pretrained("other", trust_tokenizer=True), pretrained("bare")])
    trusted, bare = plan.stages[0].data.notes
    assert trusted.startswith(
        "teacher hf:other: was trained with another tokenizer than the data's (vocabulary): "
    )
    assert trusted.endswith("it is used all the same, as trust_tokenizer says")
    assert bare == (
        "teacher hf:bare: its tokenizer was not compared with the data's: no tokenizer.json beside its "
        "weights"
    )


def test_a_trimmed_tokenizer_is_compared_with_the_one_that_was_trimmed() -> None:
    pieces = [*"abcdefghijklmnopqrstuvwxyz", *(f"##{one}" for one in "abcdefghijklmnopqrstuvwxyz")]
    for name, words in (("piece", WORDS), ("shuffled", [*reversed(WORDS)])):
        shutil.rmtree(name, ignore_errors=True)
        model_folder(name, write_wordpiece(Path(name), [], [*pieces, "unused", *words]))
    data = {
        "dataset": "talk.csv",
        "tokenizer": "piece",
        "max_tokens": 8,
        "vocabulary": {"texts": ["talk.csv"]},
    }
    assert planned(data=data, teachers=[pretrained("piece")]).stages[0].data.notes == ()
    with pytest.raises(UsageError, match="teacher hf:shuffled: was trained with another tokenizer"):
        planned(data=data, teachers=[pretrained("shuffled")])
    # weights in a file were not cut down: they read the ids that they were trained with
    with pytest.raises(UsageError, match="teacher encoder:1x32: was trained with another tokenizer"):
        planned(data=data, teachers=[{"model": "encoder:1x32", "weights": "piece/model.safetensors"}])


@pytest.mark.parametrize("problem", ["multi_label_classification", "regression"])
def test_classifiers_of_other_problems_stop_before_training(problem: str) -> None:
    config = {"model_type": "bert", "problem_type": problem}
    (Path("bert") / "config.json").write_text(json.dumps(config))
    for changes in (
        {"teachers": [pretrained("bert")]},
        {"stages": [], "student": pretrained("bert")},
        {"student": pretrained("bert"), "stages": [KD | {"method": "supervised"}]},
    ):
        with pytest.raises(UsageError, match=rf"hf:bert: was trained .* \(problem_type {problem}\)"):
            planned(**changes)


SEVERAL = {"task": "text-multi-label", "stages": [KD | {"method": "supervised"}]}


def test_a_teacher_of_any_number_of_labels_says_so() -> None:
    """And one of single classes is no teacher of them; a student learns whatever it told apart before."""
    config = {"model_type": "bert", "architectures": ["BertForSequenceClassification"]}

    def write(**problem: str) -> None:
        (Path("bert") / "config.json").write_text(json.dumps(config | problem))

    teaches = SEVERAL | {"stages": [KD], "teachers": [pretrained("bert", trust_tokenizer=True)]}
    for problem in ({}, {"problem_type": "single_label_classification"}):
        write(**problem)
        with pytest.raises(
            UsageError, match=r"hf:bert: names one of its classes \(problem_type .*\), task text-multi-label"
        ):
            planned(**teaches)
        assert planned(**SEVERAL | {"student": pretrained("bert")}).stages
    id2label = {"0": "turn", "1": "play", "2": "what"}
    (Path("bert") / "config.json").write_text(
        json.dumps(config | {"problem_type": "multi_label_classification", "id2label": id2label})
    )
    (plan,) = planned(**teaches).stages
    assert plan.data.info.classes == {"labels": ["play", "turn", "what"]}
    assert "its classes are the data's in another order" in " ".join(planned(**teaches).notes)
    write(problem_type="regression")
    with pytest.raises(UsageError, match="was trained to tell a number"):
        planned(**SEVERAL | {"student": pretrained("bert")})
