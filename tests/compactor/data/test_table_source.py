"""Tables as sources: columns, classes, splits by file name, and damaged files."""

import io
import json
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from compactor.data.datasets import open_dataset
from compactor.data.spec import DataSpec
from compactor.data.table_files import find_table_splits
from compactor.data.table_source import TableSource
from compactor_runtimes.errors import UsageError


def png(value, side=4):
    file = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), value, dtype=np.uint8)).save(file, format="PNG")
    return file.getvalue()


def write(path, *, labels=None, count=20, image=None, metadata=None, extra=None, first=0):
    columns = {"image": [png(first + row) for row in range(count)] if image is None else image}
    if labels is not None:
        columns["label"] = labels
    table = pa.table(columns | (extra or {}))
    pq.write_table(table.replace_schema_metadata(metadata), path)
    return path


@pytest.fixture
def opened(tmp_path):
    def open_path(path, **settings):
        return open_dataset(DataSpec(dataset=str(path), **settings), base=None, cache=tmp_path / "cache")

    return open_path


def test_bytes_and_hub_structs_give_the_same_pixels_and_ids(tmp_path, opened):
    labels = [row % 2 for row in range(20)]
    plain = opened(write(tmp_path / "plain.parquet", labels=labels))
    structs = [{"bytes": png(row), "path": f"{row}.png"} for row in range(20)]
    hub = opened(write(tmp_path / "hub.parquet", labels=labels, image=structs))
    for data in (plain, hub):
        assert data.train.inputs.shape == (20, 4, 4, 3)
        assert data.train.inputs[:, 0, 0, 0].tolist() == list(range(20))
        assert data.train.labels["label"].tolist() == labels
        assert data.info.classes == {"label": ["0", "1"]}


@pytest.mark.parametrize(
    "metadata",
    [
        {"classes": json.dumps(["no", "yes", "maybe"])},
        {"huggingface": json.dumps({"info": {"features": {"label": {"names": ["no", "yes", "maybe"]}}}})},
    ],
)
def test_class_names_come_from_the_file(tmp_path, opened, metadata):
    path = write(tmp_path / "named.parquet", labels=[0, 1] * 10, metadata=metadata)
    assert opened(path).info.classes == {"label": ["no", "yes", "maybe"]}
    assert opened(path, classes=["a", "b", "c"]).info.classes == {"label": ["a", "b", "c"]}


def test_string_and_dictionary_labels_become_sorted_classes(tmp_path, opened):
    names = ["dog", "cat"] * 10
    text = opened(write(tmp_path / "text.parquet", labels=names))
    coded = opened(write(tmp_path / "coded.parquet", labels=pa.array(names).dictionary_encode()))
    for data in (text, coded):
        assert data.info.classes == {"label": ["cat", "dog"]}
        assert data.train.labels["label"].tolist() == [1, 0] * 10


def test_missing_labels_are_unlabelled(tmp_path, opened):
    some = opened(write(tmp_path / "some.parquet", labels=[0, None, 1, None] * 5))
    assert some.train.labels["label"].tolist() == [0, -100, 1, -100] * 5
    none = opened(write(tmp_path / "none.parquet"))
    assert set(none.train.labels["label"]) == {-100}
    assert none.info.classes == {"label": []}


def test_labels_out_of_range_name_row_value_and_range(tmp_path, opened):
    path = write(tmp_path / "x.parquet", labels=[0, 1, 7] + [0] * 17)
    with pytest.raises(
        UsageError, match=r"row 2 holds class '7', expected one of the 2 classes a, b, or its"
    ):
        opened(path, classes=["a", "b"])
    report = write(tmp_path / "report.parquet", labels=[3] * 20)
    train = write(tmp_path / "train2.parquet", labels=[0, 1] * 10)
    with pytest.raises(
        UsageError, match=r"report\.parquet.*row 0 holds class '3', expected one of the 2 .* 0, 1"
    ):
        opened(train, report=str(report))


def test_labels_of_another_type_are_refused(tmp_path, opened):
    with pytest.raises(UsageError, match="holds double, expected class names, integers"):
        opened(write(tmp_path / "x.parquet", labels=[0.5] * 20))


def test_missing_and_wrong_columns_name_the_ones_there_are(tmp_path, opened):
    path = write(tmp_path / "x.parquet", labels=[0] * 20)
    with pytest.raises(UsageError, match=r"no column 'img', found image, label; set data.image_column"):
        opened(path, image_column="img")
    with pytest.raises(UsageError, match=r"column 'label' holds int64, expected encoded images"):
        opened(path, image_column="label")


@pytest.mark.parametrize("keep", [0, 3, 0.5, -9])
def test_truncated_file_is_named_with_what_was_found(tmp_path, opened, keep):
    path = write(tmp_path / "x.parquet", labels=[0] * 20)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(UsageError, match=r"x\.parquet: is no readable parquet file \(.+\); copy or download"):
        opened(path)


def test_damaged_pages_are_found_while_reading(tmp_path, opened):
    path = write(tmp_path / "x.parquet", labels=[0] * 20)
    content = bytearray(path.read_bytes())
    content[4:400] = bytes(396)
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"x\.parquet: is no readable parquet file"):
        opened(path)


def test_bad_images_are_named_by_row(tmp_path, opened):
    images = [png(0)] * 20
    broken = write(tmp_path / "broken.parquet", image=images[:3] + [b"no image"] + images[4:])
    with pytest.raises(
        UsageError, match=r"broken\.parquet, column 'image', row 3: .*cannot be read as an image"
    ):
        opened(broken)
    empty = write(tmp_path / "empty.parquet", image=images[:5] + [None] + images[6:])
    with pytest.raises(UsageError, match=r"row 5: holds no image, expected one"):
        opened(empty)
    sizes = write(tmp_path / "sizes.parquet", image=images[:7] + [png(0, side=5)] + images[8:])
    with pytest.raises(
        UsageError, match=r"row 7: image is \[5, 5, 3\].*row 0 is \[4, 4, 3\].*data.image_size"
    ):
        opened(sizes)
    assert opened(sizes, image_size=3).train.inputs.shape == (20, 3, 3, 3)


def test_file_without_rows_is_refused(tmp_path, opened):
    with pytest.raises(UsageError, match="holds no image"):
        opened(
            write(tmp_path / "x.parquet", image=pa.array([], pa.binary()), labels=pa.array([], pa.int64()))
        )


def test_folder_of_parquet_files_is_split_by_name(tmp_path, opened):
    folder = tmp_path / "set"
    folder.mkdir()
    write(folder / "train-00000-of-00002.parquet", labels=[0, 1] * 10)
    write(folder / "train-00001-of-00002.parquet", labels=[2, 1] * 10, first=100)
    write(folder / "validation.parquet", labels=[2] * 5, count=5)
    alone = opened(folder)
    # alone, validation is the report split and select is taken from train: 10% of 40
    assert [len(alone.train), len(alone.select), len(alone.report)] == [36, 4, 5]
    assert alone.train.inputs[20:, 0, 0, 0].tolist() == list(range(100, 120))
    write(folder / "test.parquet", labels=[0] * 6, count=6)
    both = opened(folder)
    assert [len(both.train), len(both.select), len(both.report)] == [40, 5, 6]
    assert both.info.classes == {"label": ["0", "1", "2"]}
    with pytest.warns(UserWarning, match=r"data.select has no effect"):
        opened(folder, select=3)


def test_parquet_folder_without_train_or_with_other_names_is_refused(tmp_path):
    write(tmp_path / "test.parquet")
    with pytest.raises(UsageError, match="no train split beside test"):
        find_table_splits(tmp_path)
    write(tmp_path / "extra.parquet")
    with pytest.raises(UsageError, match=r"extra\.parquet: the name says no split"):
        find_table_splits(tmp_path)


def test_report_split_that_states_other_classes_is_refused(tmp_path, opened):
    train = write(tmp_path / "a.parquet", labels=[0, 1] * 10, metadata={"classes": '["x", "y"]'})
    report = write(tmp_path / "b.parquet", labels=[0, 1] * 10, metadata={"classes": '["y", "x"]'})
    with pytest.raises(UsageError, match=r"b\.parquet: states other classes"):
        opened(train, report=str(report))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(opened(train, report=str(train)).report) == 20


def test_images_beside_a_table_may_be_links_but_no_names_that_leave_its_folder(tmp_path, opened):
    store, table = tmp_path / "store", tmp_path / "table"
    store.mkdir()
    table.mkdir()
    for number in range(20):
        (store / f"{number}.png").write_bytes(png(number))
        (table / f"{number}.png").symlink_to(store / f"{number}.png")
    (table / "folder").symlink_to(store)
    for pattern in ("{}.png", "folder/{}.png", "./x/../{}.png", str(table) + "/{}.png"):
        rows = [f"{pattern.format(number)},{number % 2}" for number in range(20)]
        (table / "list.csv").write_text("\n".join(["image,label", *rows]))
        assert opened(table / "list.csv").train.inputs[:, 0, 0, 0].tolist() == list(range(20))
    for name, message in (
        ("../store/0.png", "leaves the folder of the table; .* or links to them"),
        ("folder/../../store/0.png", "leaves the folder"),
        (str(store / "0.png"), "leaves the folder"),
        ("gone.png", "is a link to nothing"),
    ):
        (table / "gone.png").unlink(missing_ok=True)
        (table / "gone.png").symlink_to("nowhere")
        (table / "list.csv").write_text(f"image,label\n0.png,0\n1.png,1\n{name},1")
        with pytest.raises(UsageError, match=message):
            opened(table / "list.csv")


def test_csv_and_jsonl_name_images_beside_them(tmp_path, opened):
    (tmp_path / "pictures").mkdir()
    for number in range(20):
        (tmp_path / "pictures" / f"{number}.png").write_bytes(png(number))
    lines = [f"pictures/{number}.png,{'even' if number % 2 == 0 else 'odd'}" for number in range(20)]
    (tmp_path / "list.csv").write_text("\n".join(["file,kind", *lines]))
    data = opened(tmp_path / "list.csv", image_column="file", label_column="kind")
    assert data.train.inputs[:, 0, 0, 0].tolist() == list(range(20))
    assert data.info.classes == {"label": ["even", "odd"]}
    for name, message in (
        ("../outside.png", "leaves the folder of the table"),
        ("lost.png", "does not exist"),
    ):
        (tmp_path / "bad.csv").write_text("\n".join(["file,kind", f"{name},even", *lines]))
        with pytest.raises(UsageError, match=f"row 0: .*{message}"):
            opened(tmp_path / "bad.csv", image_column="file", label_column="kind")


def test_csv_cells_are_strings_whatever_the_first_rows_look_like(tmp_path, monkeypatch):
    """Blocks of a few rows, as in a file of many megabytes: the first hold numbers alone."""
    monkeypatch.setattr("compactor.data.table_files.BLOCK_BYTES", 32)
    rows = [*[f"{row},{row % 3}" for row in range(10)], *[f"word {row},b" for row in range(10)]]
    (tmp_path / "mixed.CSV").write_text("\n".join(["text,label", *rows]))
    source = TableSource([tmp_path / "mixed.CSV"], "text", "label", holds="texts")
    assert source.texts().tolist() == [str(row) for row in range(10)] + [f"word {row}" for row in range(10)]
    assert source.labels().classes == ["0", "1", "2", "b"]
    assert source.labels().values.tolist() == [row % 3 for row in range(10)] + [3] * 10


def test_csv_labels_may_be_numbers_or_absent_but_no_fractions(tmp_path):
    def labels(*cells):
        (tmp_path / "x.csv").write_text("\n".join(["text,label", *[f"a b,{cell}" for cell in cells]]))
        return TableSource([tmp_path / "x.csv"], "text", "label", ["no", "yes", "both"]).labels()

    assert labels("2", "", "0").values.tolist() == [2, -100, 0]
    assert labels("yes", "", "no").values.tolist() == [1, -100, 0]
    with pytest.raises(
        UsageError, match=r"column 'label': row 1 holds class '1.0', expected one of the 3 classes"
    ):
        labels("0", "1.0")
    with pytest.raises(UsageError, match=r"row 1 holds class '3'.*or its number 0\.\.2"):
        labels("0", "3")


def test_an_image_beside_a_table_is_part_of_its_digest(tmp_path, opened):
    for number in range(20):
        (tmp_path / f"{number}.png").write_bytes(png(number))
    rows = [f'{{"image": "{number}.png", "label": {number % 2}}}' for number in range(20)]
    (tmp_path / "list.jsonl").write_text("\n".join(rows))
    first = opened(tmp_path / "list.jsonl")
    (tmp_path / "3.png").write_bytes(png(200))
    again = opened(tmp_path / "list.jsonl")
    assert again.digest != first.digest
    assert again.train.inputs[3, 0, 0].tolist() == [200, 200, 200]


def test_a_split_in_two_kinds_of_file_and_two_columns_of_one_name_are_refused(tmp_path, opened):
    write(tmp_path / "train.parquet", labels=[0, 1] * 10)
    (tmp_path / "train.csv").write_text("image,label,label\na.png,0,0\n")
    with pytest.raises(UsageError, match=r"holds split train as \.csv and as \.parquet, expected one kind"):
        opened(tmp_path)
    with pytest.raises(UsageError, match="2 columns are called 'label'; rename one"):
        TableSource([tmp_path / "train.csv"], "image", "label").labels()


@pytest.mark.parametrize(("classes", "names"), [(4, ["0", "1", "2", "3"]), (["a", "b"], ["a", "b"])])
def test_unlabelled_images_take_the_stated_classes(tmp_path, opened, classes, names):
    data = opened(write(tmp_path / "plain.parquet"), classes=classes)
    assert data.info.classes == {"label": names}
    assert set(data.train.labels["label"]) == {-100}


def test_a_number_of_classes_fits_integer_labels_and_no_other_names(tmp_path, opened):
    labels = [0, 1] * 10
    assert opened(write(tmp_path / "x.parquet", labels=labels), classes=10).info.num_classes() == 10
    with pytest.raises(UsageError, match="holds class 'cat', expected one of the 10 .* data.classes"):
        opened(write(tmp_path / "y.parquet", labels=["cat", "dog"] * 10), classes=10)


def test_text_settings_have_no_effect_on_images(tmp_path, opened):
    path = write(tmp_path / "x.parquet", labels=[0, 1] * 10)
    with pytest.warns(UserWarning, match="data.max_tokens has no effect on images"):
        opened(path, max_tokens=9)
