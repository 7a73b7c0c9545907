"""A handful of rows: every class comes, evenly spread, and nothing else is read."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from compactor.data.datasets import open_dataset
from compactor.data.few_rows import handful, spread_rows
from compactor.data.image_folder import open_folder
from compactor.data.spec import DataSpec
from compactor.data.table_source import TableSource


def test_rows_are_spread_from_the_first_to_the_last():
    assert spread_rows(11, 3).tolist() == [0, 5, 10]
    assert spread_rows(2, 5).tolist() == [0, 1]
    assert spread_rows(0, 5).tolist() == []


def test_each_class_gives_the_same_number_evenly_spread():
    # class 0 lies at 0, 2, 4, 6 and class 1 at 1, 3, 5, 7: the first and the last of each
    assert handful(np.array([0, 1] * 4), 4).tolist() == [0, 1, 6, 7]
    # one of class 1 only, so that class 0 gives three of its five: the first, middle and last
    assert handful(np.array([0, 0, 0, 1, 0, 0]), 4).tolist() == [0, 2, 3, 5]
    assert handful(np.full(9, -100), 3).tolist() == [0, 4, 8]
    assert handful(np.zeros(0, dtype=np.int64), 3).tolist() == []


def test_classes_that_take_turns_all_come():
    """Of 50,000 rows every thousandth would show two of ten classes."""
    labels = np.arange(50_000) % 10
    assert np.bincount(labels[handful(labels, 51)]).tolist() == [6, *[5] * 9]


def test_a_thinned_folder_keeps_all_classes_and_leaves_other_files_alone(tmp_path):
    for name, value in (("a", 0), ("b", 10), ("c", 20)):
        (tmp_path / "set" / name).mkdir(parents=True)
        for row in range(5):
            image = np.full((2, 2, 3), value + row, dtype=np.uint8)
            Image.fromarray(image).save(tmp_path / "set" / name / f"{row}.png")
    (tmp_path / "set" / "b" / "2.png").write_bytes(b"no image")
    opened = open_dataset(
        DataSpec(dataset=str(tmp_path / "set")), base=None, cache=tmp_path / "cache", at_most=6
    )
    assert opened.train.inputs[:, 0, 0, 0].tolist() == [0, 4, 10, 14, 20, 24]
    assert opened.train.labels["label"].tolist() == [0, 0, 1, 1, 2, 2]
    source = open_folder(tmp_path / "set", None)
    few = source.thinned(np.array([0, 1]))
    assert few.labels().classes == ["a", "b", "c"]
    before = few.fingerprint()
    (tmp_path / "set" / "c" / "0.png").unlink()
    assert few.fingerprint() == before  # so it was not read


def test_a_thinned_table_reads_its_rows_over_files_and_row_groups(tmp_path):
    files = [tmp_path / "train-00000-of-00002.parquet", tmp_path / "train-00001-of-00002.parquet"]
    for first, file in zip((0, 7), files, strict=True):
        rows = list(range(first, first + 7))
        table = pa.table({"image": [bytes([row]) for row in rows], "label": [row % 3 for row in rows]})
        pq.write_table(table, file, row_group_size=2)
    source = TableSource(files, "image", "label")
    wanted = np.array([0, 5, 6, 7, 13])
    few = source.thinned(wanted)
    assert [raw for _, raw in few.items()] == [bytes([row]) for row in wanted]
    # the second file counts its rows from 0
    assert [name.rpartition(" ")[2] for name, _ in few.items()] == ["0", "5", "6", "0", "6"]
    assert few.labels().values.tolist() == [row % 3 for row in wanted]
    assert [raw for _, raw in source.items()] == [bytes([row]) for row in range(14)]
    digests = {str(each.fingerprint()) for each in (source, few, source.thinned(np.array([0])))}
    assert len(digests) == 3


def test_digits_of_a_handful_hold_every_class():
    data = open_dataset(DataSpec(dataset="digits"), base=None, at_most=40)
    assert np.bincount(data.train.labels["label"]).tolist() == [4] * 10
