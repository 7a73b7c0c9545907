"""Sets of labels as they are written: lists, ones and zeros, cells with separators."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from compactor.data.datasets import open_dataset
from compactor.data.few_rows import handful, strata
from compactor.data.label_sets import read_label_sets
from compactor.data.spec import DataSpec
from compactor.data.splits import proportional_part
from compactor.data.table_source import TableSource
from compactor.data.texts import open_texts
from compactor_runtimes.errors import UsageError
from tests.compactor.text_toys import write_tokenizer

NONE, UNLABELLED = [0, 0, 0], [-100] * 3


def read(*cells: Any, stated: list[str] | None = None, **more: Any) -> tuple[list[str], list[list[int]]]:
    found = read_label_sets(cells, stated, where="x, column 'labels'", **more)
    return found.classes, found.values.tolist()


def test_lists_of_names_are_sorted_names() -> None:
    assert read(["dog", "cat"], [], None, ["ant"]) == (
        ["ant", "cat", "dog"],
        [[0, 1, 1], NONE, UNLABELLED, [1, 0, 0]],
    )


def test_a_name_in_a_list_twice_counts_once_and_spellings_of_a_letter_are_one() -> None:
    assert read(["cat", "cat"], ["Zoë", "Zoe\u0308"]) == (["Zoë", "cat"], [[0, 1], [1, 0]])
    assert read(["Cat", "cat "])[0] == ["Cat", "cat "]  # nothing else is merged


@pytest.mark.parametrize("cells", [([0, 2], [1], []), ([2, 0], 1, []), ("0|2", "1", "|")])
def test_numbers_are_class_numbers(cells: tuple[Any, ...]) -> None:
    assert read(*cells) == (["0", "1", "2"], [[1, 0, 1], [0, 1, 0], NONE])
    assert read(*cells, stated=["a", "b", "c"], numbers_of=["a", "b", "c"])[0] == ["a", "b", "c"]


def test_numbers_that_do_not_run_from_0_are_names() -> None:
    assert read([1999, 2003], [2001])[0] == ["1999", "2001", "2003"]


@pytest.mark.parametrize(
    "cells",
    [
        ([1, 0, 1], [0, 1, 0], None, [0, 0, 0]),
        ([True, False, True], [False, True, False], None, [False] * 3),
        ([1.0, 0.0, 1.0], [0.0, 1.0, 0.0], None, [0.0] * 3),
    ],
)
def test_ones_and_zeros_stand_for_each_label_in_order(cells: tuple[Any, ...]) -> None:
    rows = [[1, 0, 1], [0, 1, 0], UNLABELLED, NONE]
    assert read(*cells) == (["0", "1", "2"], rows)
    assert read(*cells, stated=["a", "b", "c"]) == (["a", "b", "c"], rows)
    with pytest.raises(UsageError, match="lists of 3 ones and zeros found, but 2 classes are stated"):
        read(*cells, stated=["a", "b"])


def test_what_can_be_read_in_two_ways_is_refused() -> None:
    with pytest.raises(UsageError, match="as two class numbers and as ones and zeros; write names"):
        read([0, 1], [1, 0])
    assert read([0], [1]) == (["0", "1"], [[1, 0], [0, 1]])
    assert read([0], [1], stated=["only"]) == (["only"], [[0], [1]])


def test_separators_are_told_from_the_column() -> None:
    rows = [[1, 1], [0, 1], [0, 0], [-100, -100]]
    for mark in "|;,":
        assert read(f"a{mark} b", "b", mark, None) == (["a", "b"], rows)
    with pytest.raises(UsageError, match=r"holds ';' and ',', and any of them may stand between two labels"):
        read("a;b", "c,d")
    names = ["Paris, France", "Rome"]
    assert read("Paris, France;Rome", "Rome", stated=names) == (names, [[1, 1], [0, 1]])
    assert read("Paris, France", "Rome", stated=names) == (names, [[1, 0], [0, 1]])


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ((["a"], [None]), r"row 1 holds \[None\], expected a list of labels"),
        (([0.5, 1.0],), "row 0 holds .*expected names, class numbers, or ones and zeros"),
        (([1.0, 0.0], [1.0]), "ones and zeros of lengths 1, 2 found"),
        (("['a', 'b']",), "is a list written as text"),
        ((["a"], {"b": 1}), "row 1 holds"),
    ],
)
def test_other_cells_are_refused_by_row(cells: tuple[Any, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read(*cells)


def test_a_label_that_train_lacks_is_refused_by_its_row() -> None:
    with pytest.raises(UsageError, match=r"row 2 holds class 'c', expected one of the 2 classes a, b"):
        read(["a"], ["a", "b"], ["b", "c"], stated=["a", "b"])


def test_counts_and_labels_that_never_occur_are_told() -> None:
    found = read_label_sets([["a", "b"], ["a"], [], None], ["a", "b", "c"], where="x")
    assert found.absent == ["c"]
    assert found.told() == [
        "no row has c (1) of the 3 classes",
        "any number of 3 labels may be true of a row: a 2, b 1, c 0; 1.00 a row, 1 rows have none of them, "
        "1 rows are unlabelled",
    ]


def test_rows_are_stratified_by_their_rarest_label() -> None:
    labels = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 1], [1, 0, 1], [0, 0, 0], [-100] * 3])
    # counts 4, 1, 2: ranks 2, 0, 1
    assert strata(labels).tolist() == [0, 2, 1, 1, 3, -1]
    assert strata(np.array([3, -100])).tolist() == [3, -100]
    assert strata(np.full((2, 3), -100)).tolist() == [-1, -1]


def test_a_rare_label_reaches_every_part() -> None:
    labels = np.zeros((100, 2), np.int64)
    labels[:, 0] = 1
    labels[::10, 1] = 1
    part = proportional_part(labels, 20, seed=[0])
    assert labels[part].sum(0).tolist() == [20, 2]
    assert labels[handful(labels, 10)].sum(0).tolist() == [10, 5]


def images(folder: Path, split: str, labels: list[Any]) -> None:
    from compactor.tasks.image_classification import write_pngs

    rng = np.random.default_rng(len(labels))
    files = write_pngs(
        rng.integers(0, 255, (len(labels), 4, 4, 3), dtype=np.uint8), folder / "p", prefix=split
    )
    data = {"image": [one.read_bytes() for one in files], "label": labels}
    pq.write_table(pa.table(data), folder / f"{split}.parquet")


def opened(folder: Path, task: str = "image-multi-label", **spec: Any) -> Any:
    return open_dataset(DataSpec(dataset=str(folder), **spec), base=folder, cache=folder / "cache", task=task)


def test_images_with_lists_become_ones_and_zeros(tmp_path: Path) -> None:
    images(tmp_path, "train", [["a", "b"], ["b"], []] * 5)
    images(tmp_path, "validation", [["a"], None])
    images(tmp_path, "test", [["b"], ["a"]])
    for _ in range(2):  # decoded, then from the cache
        data = opened(tmp_path)
        assert data.info.classes == {"labels": ["a", "b"]}
        assert data.train.labels["labels"].shape == (15, 2)
        assert data.select.labels["labels"].tolist() == [[1, 0], [-100, -100]]
        assert data.report.labels["labels"].tolist() == [[0, 1], [1, 0]]
    assert any("any number of 2 labels" in note for note in data.notes)


def test_a_set_and_a_class_are_two_data_sets(tmp_path: Path) -> None:
    """Of one table: what was decoded for one task is not taken for the other."""
    images(tmp_path, "train", ["a", "b", "a", "b", "a"])
    sets, classes = opened(tmp_path), opened(tmp_path, "image-classification")
    assert sets.train.labels["labels"].shape == (5, 2)
    assert classes.train.labels["label"].shape == (5,)
    assert sets.digest != classes.digest


def test_a_folder_and_a_named_data_set_have_one_class_an_image(tmp_path: Path) -> None:
    from compactor.tasks.image_classification import write_pngs

    for name in ("cat", "dog"):
        write_pngs(np.zeros((3, 4, 4, 3), np.uint8), tmp_path / name, prefix="x")
    with pytest.raises(UsageError, match="is a folder, which gives an image one class.* give a table"):
        opened(tmp_path)
    with pytest.raises(UsageError, match="'digits' has one class an image"):
        open_dataset(DataSpec(dataset="digits"), base=None, task="image-multi-label")


def test_names_and_metadata_of_a_file_say_the_labels(tmp_path: Path) -> None:
    table = pa.table({"text": ["a", "b"], "labels": [[0, 2], [1]]})
    feature = {"feature": {"names": ["x", "y", "z"]}}
    metadata = {"huggingface": json.dumps({"info": {"features": {"labels": feature}}})}
    for kept in ({"classes": json.dumps(["x", "y", "z"])}, metadata):
        pq.write_table(table.replace_schema_metadata(kept), tmp_path / "x.parquet")
        found = TableSource([tmp_path / "x.parquet"], "text", "labels", several=True).labels()
        assert (found.classes, found.are_numbers) == (["x", "y", "z"], True)
        assert found.values.tolist() == [[1, 0, 1], [0, 1, 0]]


def test_texts_of_a_csv_file_and_those_with_two_sets(tmp_path: Path) -> None:
    rows = ["turn on,a|b", "turn off,b", "play,a", "now,", "it,|", "turn on,a"] * 4
    (tmp_path / "t.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    spec = DataSpec(dataset=str(tmp_path / "t.csv"), tokenizer=str(write_tokenizer(tmp_path)), max_tokens=8)
    data = open_texts(spec, task="text-multi-label", base=tmp_path, cache=tmp_path / "cache")
    assert data.train.labels["labels"].shape == (24, 2)
    assert data.train.labels["labels"][:5].tolist() == [[1, 1], [0, 1], [1, 0], [-100, -100], [0, 0]]
    assert any("1 text occurs with other labels in another row, such as 'turn on'" in n for n in data.notes)


def test_a_column_of_anything_else_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"], "labels": [1.5]}), tmp_path / "x.parquet")
    with pytest.raises(UsageError, match="holds double, expected lists of labels"):
        TableSource([tmp_path / "x.parquet"], "text", "labels", several=True).labels()


def test_an_unlabelled_split_has_a_place_for_each_label(tmp_path: Path) -> None:
    images(tmp_path, "train", [None] * 6)
    images(tmp_path, "validation", [["a"], ["b"]])
    images(tmp_path, "test", [["a", "b"], ["b"]])
    data = opened(tmp_path)
    assert data.info.classes == {"labels": ["a", "b"]}
    assert data.train.labels["labels"].tolist() == [[-100, -100]] * 6
