"""What `init` makes of the classes that trained models and data name."""

from pathlib import Path

import pytest
import yaml

from compactor.propose import propose
from compactor.recipe.load import parse_recipe
from compactor_runtimes.errors import UsageError
from tests.compactor.text_toys import bert_folder, write_tokenizer

SENTENCES = ["turn the light on", "play music now", "what time is it"]


def table(path: Path, labels: list[str]) -> str:
    rows = [f"{SENTENCES[row % 3]} {row},{labels[row % len(labels)]}" for row in range(60)]
    path.write_text("\n".join(["text,label", *rows]))
    return str(path)


def proposed(tmp_path: Path, names: list[str], labels: list[str]) -> tuple[object, list[str]]:
    bert_folder(tmp_path / "bert", num_labels=len(names), id2label=dict(enumerate(names)))
    write_tokenizer(tmp_path / "bert")
    model = f"hf:{tmp_path / 'bert'}"
    found = propose(model, "encoder:1x32", table(tmp_path / "x.csv", labels))
    return parse_recipe(yaml.safe_load(found.yaml)).data.classes, found.notes


@pytest.mark.parametrize(
    ("names", "labels", "classes", "note"),
    [
        (["POSITIVE", "NEGATIVE"], ["negative", "positive"], None, "POSITIVE = positive"),
        (["not_ok", "ok"], ["Not OK", "OK"], None, "not_ok = Not OK"),
        (["b", "a"], ["a", "b"], ["b", "a"], None),  # the teacher's order, as its head has it
        (["neg", "neu", "pos"], ["0", "1", "2"], ["neg", "neu", "pos"], "0 = neg, 1 = neu, 2 = pos"),
        (["neg", "neu", "pos"], ["0", "2"], ["neg", "neu", "pos"], "the labels are numbers"),
        (["neg", "neu", "pos"], ["pos", "neg"], ["neg", "neu", "pos"], None),  # more than the data show
        (["NEG", "NEU", "POS"], ["pos", "neg"], ["neg", "NEU", "pos"], "NEG = neg"),
        (["2", "0", "1"], ["0", "1", "2"], ["2", "0", "1"], None),  # integers that are names
        (["LABEL_0", "LABEL_1"], ["no", "yes"], None, "does not say its classes"),
    ],
)
def test_classes_of_a_teacher_and_of_the_data(
    tmp_path: Path, names: list[str], labels: list[str], classes: list[str] | None, note: str | None
) -> None:
    found, notes = proposed(tmp_path, names, labels)
    assert found == classes
    assert note is None or any(note in one for one in notes), notes


@pytest.mark.parametrize(
    ("names", "labels", "message"),
    [
        (["yes", "no"], ["0", "1", "2"], r"2 classes apart \(yes, no\), .* has 3"),
        (["yes", "no"], ["yes", "maybe"], r"2 classes apart \(yes, no\), .* has 2 \(maybe, yes\)"),
        (["01", "02"], ["1", "2"], "2 classes apart"),  # an article number is no number
        (["c", "C"], ["c ", "d"], "2 classes apart"),
    ],
)
def test_a_teacher_of_other_classes_is_refused(
    tmp_path: Path, names: list[str], labels: list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        proposed(tmp_path, names, labels)
