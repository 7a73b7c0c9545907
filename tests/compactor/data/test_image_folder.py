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


@pytest.mark.parametrize("suffix", [".jpg", ".JFIF", ".tif", ".TIFF", ".gif", ".webp", ".bmp", ".pgm"])
def test_every_suffix_that_is_read_counts(suffix, root, opened):
    for row in range(3):
        add(root / "a", f"{row}.png", row)
        add(root / "b", f"{row}{suffix}", 100 + row)
    data = opened()
    assert data.info.classes == {"label": ["a", "b"]}
    assert sum(len(split) for split in (data.train, data.select, data.report)) == 6
    assert not [note for note in data.notes if "left out" in note]


def test_sub_folders_of_a_class_are_read_and_told_in_sorted_order(root, opened):
    for row in range(3):
        add(root / "a", f"{row}.png", row)
        add(root / "b" / "night" / "deep", f"{row}.png", 20 + row)
        add(root / "b", f"z{row}.png", 30 + row)
    (root / "b" / "loop").symlink_to(root / "b")
    data = opened()
    assert data.train.inputs[:, 0, 0, 0].tolist() == [0, 1, 2, 20, 21, 22, 30, 31, 32]
    (told,) = [note for note in data.notes if "sub-folders" in note]
    assert told == (
        "train: 3 images lie in 1 sub-folders of class folders (images/b/night/deep) and are read as images "
        "of that class"
    )


def test_what_is_left_out_is_counted_and_named(root, opened):
    for split in ("train", "val"):
        for row in range(3):
            add(root / split / "a", f"{row}.png", row)
            add(root / split / "b", f"{row}.png", 10 + row)
    (root / "labels.xml").touch()
    (root / "train" / "a" / "Thumbs.db").touch()
    (root / "train" / "a" / ".DS_Store").touch()
    (root / "train" / "a" / "scan.heic").touch()
    (root / "train" / "b" / "NOTES").touch()
    add(root / "train" / "b" / ".ipynb_checkpoints", "0.png", 0)
    add(root / "train" / "b", "._1.png", 0)
    notes = opened().notes
    assert (
        "train: 3 files are left out, as their suffix is no image's (.heic, .xml, no suffix: labels.xml, "
        "train/a/scan.heic, train/b/NOTES)"
    ) in notes
    assert "train: 2 images whose name, or whose folder's, begins with a dot are left out" in notes
    assert not [note for note in notes if note.startswith("report: ") and "left out" in note]


def test_split_folders_may_be_capitalised(root, opened):
    for split, count in (("Train", 4), ("VAL", 2), ("Test", 3)):
        for row in range(count):
            add(root / split / "a", f"{row}.png", row)
            add(root / split / "b", f"{row}.png", 10 + row)
    data = opened()
    assert [len(data.train), len(data.select), len(data.report)] == [8, 4, 6]


def test_two_spellings_of_one_letter_are_one_class(root, opened):
    for split, name in (("train", "caf\u00e9"), ("test", "cafe\u0301")):
        for row in range(4):
            add(root / split / name, f"{row}.png", row)
            add(root / split / "bar", f"{row}.png", 10 + row)
    data = opened()
    assert data.info.classes == {"label": ["bar", "caf\u00e9"]}
    assert data.report.labels["label"].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (
            ["set/train/a", "set/val/a"],
            r"images/set: holds split folders \(train, val\), .*; give .*images/set$",
        ),
        (
            ["a/Train", "b/Train"],
            r"images/a: holds split folders \(Train\), .*put the splits above the classes",
        ),
        (
            ["set/a", "set/b"],
            r"holds the folder set alone, which holds folders \(a, b\).*; give .*images/set$",
        ),
        (["wrap/set/a"], r"holds the folder wrap alone"),
        (["train/a", "cat"], r"folder 'cat' beside train names no split, .*class folders into train"),
        (["val/a", "test/a"], r"holds the splits test, val but no train"),
        (["train/a", "Train/a"], r"Train and train name one split"),
        (["train/a", "."], r"holds images \(0.png\) beside its split folders"),
    ],
)
def test_a_folder_on_another_level_is_answered_with_what_may_be_meant(folders, message, root, opened):
    for folder in folders:
        add(root / folder, "0.png", 0)
    with pytest.raises(UsageError, match=message):
        opened()


def test_a_class_called_like_a_split_is_told(root, opened):
    for name in ("cat", "val"):
        for row in range(4):
            add(root / name, f"{row}.png", row)
    assert "train: no folder is called train, so val is read as a class, not as a split" in opened().notes


def test_a_link_to_nothing_is_named(root, opened):
    for row in range(4):
        add(root / "a", f"{row}.png", row)
    (root / "a" / "9.png").symlink_to(root / "gone.png")
    with pytest.raises(UsageError, match=r"a/9.png: cannot be read \(No such file"):
        opened()


def test_a_folder_of_other_files_says_so(root, opened):
    add(root / "a", "0.png", 0)
    (root / "b").mkdir()
    (root / "b" / "1.heic").touch()
    with pytest.raises(UsageError, match=r"b: holds no image \(.*\) but 1 other files \(1.heic, ...\)"):
        opened()
