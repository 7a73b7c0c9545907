"""Labels of words in tables: numbered over splits, and refused where they do not fit."""

import json

import numpy as np
import pytest

from compactor.data.slots import checked_tags, number_tags
from compactor.data.spec import DataSpec
from compactor.tasks import task_named
from compactor_runtimes.errors import UsageError
from tests.compactor.text_toys import write_tokenizer


def test_labels_are_numbered_over_all_splits():
    found = number_tags({"train": [["O", "B-x"], None], "report": [["B-y", "O", "I-x"]]})
    assert found.classes == ["O", "B-x"]
    assert found.unseen == ["B-y", "I-x"]
    assert found.values["train"].tolist() == [[0, 1, -100], [-100, -100, -100]]
    assert found.values["report"].tolist() == [[2, 0, 3]]


def test_rows_that_do_not_fit_are_refused():
    texts = np.array(["play jazz"], dtype=object)
    with pytest.raises(UsageError, match="1 slot labels found for 2 words"):
        checked_tags([["O"]], texts, "t")
    with pytest.raises(UsageError, match="'genre' found, expected O, B-NAME or I-NAME"):
        checked_tags([["O", "genre"]], texts, "t")
    with pytest.raises(UsageError, match="no train text has slot labels"):
        number_tags({"train": [None]})


def write(folder, name, rows):
    text = "\n".join(json.dumps(row) for row in rows)
    (folder / f"{name}.jsonl").write_text(text + "\n", encoding="utf-8")


def test_classes_that_train_never_shows_count_as_mistakes(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    row = {"words": ["play", "music"], "intent": "music", "slots": "O B-what"}
    write(data, "train", [row, row | {"intent": "time"}] * 3)
    write(data, "validation", [row])
    write(data, "test", [row | {"intent": "never", "slots": "O B-never"}])
    spec = DataSpec(
        dataset=str(data),
        tokenizer=str(write_tokenizer(tmp_path)),
        text_column="words",
        label_column="intent",
    )
    opened = task_named("intent-slots").open(spec, base=tmp_path)
    assert opened.report.inputs.tolist() == ["play music"]  # a list of words is joined
    assert opened.info.classes == {"intent": ["music", "time"], "slot": ["O", "B-what"]}
    assert opened.report.labels["intent"].tolist() == [2]
    assert opened.report.labels["slot"].tolist() == [[0, 2]]
    assert opened.report.word_names == ["O", "B-what", "B-never"]
