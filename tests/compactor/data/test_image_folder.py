"""Image folders: layouts, labels, order, and what is wrong with them."""

import numpy as np
import pytest
from PIL import Image

from compactor.data.datasets import open_dataset
from compactor.data.spec import DataSpec
from compactor_runtimes.errors import UsageError


def add(folder, name, value, side=3):
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((side, side, 3), value, dtype=np.uint8)).save(folder / name)


@pytest.fixture
def root(tmp_path):
    return tmp_path / "images"


@pytest.fixture
def opened(tmp_path, root):
    def open_root(**settings):
        return open_dataset(DataSpec(dataset=str(root), **settings), base=None, cache=tmp_path / "cache")

    return open_root


def test_class_folders_are_sorted_classes_and_files_sorted_rows(root, opened):
    for row in (3, 0, 2, 1):
        add(root / "dog", f"{row}.png", 10 + row)
        add(root / "cat", f"{row}.BMP", row)
    (root / "cat" / "notes.txt").write_text("not an image")
    (root / ".hidden").mkdir()
    data = opened()
    assert data.info.classes == {"label": ["cat", "dog"]}
    assert data.train.inputs[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 10, 11, 12, 13]
    assert data.train.labels["label"].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert opened(classes=["dog", "cat"]).train.labels["label"].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]


def test_split_folders_are_train_select_and_report(root, opened):
    for split, count in (("train", 4), ("val", 2), ("test", 3)):
        for row in range(count):
            add(root / split / "a", f"{row}.png", row)
            add(root / split / "b", f"{row}.png", row)
    data = opened()
    assert [len(data.train), len(data.select), len(data.report)] == [8, 4, 6]
    assert len({data.train.digest, data.select.digest, data.report.digest}) == 3


def test_report_may_lack_a_class_but_not_add_one(root, opened):
    for row in range(5):
        add(root / "train" / "a", f"{row}.png", row)
        add(root / "train" / "b", f"{row}.png", row)
        add(root / "test" / "b", f"{row}.png", row)
    assert set(opened().report.labels["label"]) == {1}
    add(root / "test" / "c", "0.png", 0)
    with pytest.raises(UsageError, match="holds class 'c', expected one of the 2 classes a, b"):
        opened()


def test_flat_folder_is_unlabelled(root, opened):
    for row in range(10):
        add(root, f"{row}.png", row)
    data = opened(color="grey")
    assert set(data.train.labels["label"]) == {-100}
    assert data.info.classes == {"label": []}
    assert data.train.inputs.shape == (10, 3, 3, 1)


def test_empty_folders_and_mixed_ones_are_refused(root, opened):
    root.mkdir()
    with pytest.raises(UsageError, match="images: holds no image"):
        opened()
    add(root / "a", "0.png", 0)
    (root / "b").mkdir()
    with pytest.raises(UsageError, match="b: holds no image .*, expected those of class 'b'"):
        opened()
    add(root, "loose.png", 0)
    with pytest.raises(UsageError, match=r"holds both images \(loose.png\) and folders \(a\)"):
        opened()


def test_unknown_folder_beside_train_and_two_report_folders_are_refused(root, opened):
    for split in ("train", "test", "report"):
        add(root / split / "a", "0.png", 0)
    with pytest.raises(UsageError, match="two report splits"):
        opened()
    add(root / "trian" / "a", "0.png", 0)
    with pytest.raises(UsageError, match="folder 'trian' beside train names no split"):
        opened()


def test_corrupt_image_is_named(root, opened):
    for row in range(5):
        add(root / "a", f"{row}.png", row)
    whole = (root / "a" / "3.png").read_bytes()
    (root / "a" / "3.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match=r"a/3\.png: cannot be read as an image"):
        opened()


def test_digest_follows_content_and_names_but_not_the_place(tmp_path, root, opened):
    for row in range(5):
        add(root / "a", f"{row}.png", row)
    first = opened().digest
    moved = tmp_path / "elsewhere"
    root.rename(moved)
    spec = DataSpec(dataset="elsewhere")
    assert open_dataset(spec, base=tmp_path, cache=tmp_path / "cache").digest == first
    add(moved / "a", "4.png", 99)
    assert open_dataset(spec, base=tmp_path, cache=tmp_path / "cache").digest != first
