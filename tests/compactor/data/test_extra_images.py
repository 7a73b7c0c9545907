"""Unlabelled images in training: which are used, under which numbers and shares, and what is said."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from compactor.data.cache import Opening
from compactor.data.datasets import open_dataset
from compactor.data.extra_images import image_digests
from compactor.data.further_images import open_further
from compactor.data.picked import Picked
from compactor.data.spec import DataSpec, MixSpec
from compactor.records import IGNORE
from compactor.tasks import task_named
from compactor_runtimes.errors import UsageError


def write_images(folder: Path, images: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(folder / f"{number:03d}.png")


@pytest.fixture
def digits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("COMPACTOR_CACHE", str(tmp_path / "cache"))
    return open_dataset(DataSpec(dataset="digits", limit={"train": 100}), base=tmp_path)


def mixed(base: Path, *also: MixSpec, **changes):
    spec = DataSpec(dataset="digits", limit={"train": 100}, also=list(also), **changes)
    return task_named("image-classification").open(spec, base=base)


def noise(count: int, size: int = 8, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (count, size, size, channels), dtype=np.uint8)


def test_joined_images_are_read_as_if_they_were_one_array() -> None:
    parts = [noise(5), noise(3)[::-1], noise(4) // 2]
    joined, whole = Picked(parts), np.concatenate(parts)
    assert (joined.shape, len(joined)) == (whole.shape, 12)
    rows = np.array([11, 0, 5, 4, 7, 8, 5])
    np.testing.assert_array_equal(joined[rows], whole[rows])
    assert joined[np.array([], dtype=np.int64)].shape == (0, 8, 8, 1)


def test_what_select_and_report_show_never_comes_back_without_labels(digits, tmp_path) -> None:
    judged = [digits.report.inputs[digits.report.rows[:3]], digits.select.inputs[digits.select.rows[:2]]]
    write_images(tmp_path / "more", np.concatenate([*judged, noise(5)]))
    data = mixed(tmp_path, MixSpec(dataset="more"))
    assert data.train.parts == ((100, 100 / 105), (5, 5 / 105))
    np.testing.assert_array_equal(
        np.sort(data.train.inputs[data.train.rows[100:]].ravel()), np.sort(noise(5).ravel())
    )
    assert [note for note in data.notes if note.startswith("also")] == [
        "also more: 2 images are equal to images of select and left out",
        "also more: 3 images are equal to images of report and left out",
        "also more: 5 images are mixed into training without labels",
    ]


def test_a_data_set_adds_its_own_other_rows_without_their_labels(digits, tmp_path) -> None:
    data = mixed(tmp_path, MixSpec(dataset="digits"))
    own, added = data.train.rows[:100], data.train.rows[100:]
    assert own.tolist() == digits.train.rows.tolist()
    assert len(added) == 1797 - len(np.concatenate([digits.report.rows, digits.select.rows])) - 100
    used = np.concatenate([digits.train.rows, digits.select.rows, digits.report.rows])
    assert not np.isin(added - 1797, used).any()
    assert (data.train.labels["label"][added] == IGNORE).all()
    assert (data.train.labels["label"][own] == digits.train.labels["label"][own]).all()
    for one, other in ((data.select, digits.select), (data.report, digits.report)):
        assert (one.digest, one.rows.tolist()) == (other.digest, other.rows.tolist())
    batch = next(task_named("image-classification").batches(data.train))
    assert batch.x["pixel_values"].shape[1:] == (1, 8, 8)


def test_entries_with_a_share_come_first_and_rows_divide_the_rest(tmp_path, digits) -> None:
    write_images(tmp_path / "more", noise(20))
    write_images(tmp_path / "other", 255 - noise(40))
    data = mixed(tmp_path, MixSpec(dataset="more", share=0.5), MixSpec(dataset="other", limit=25))
    assert data.train.parts == ((100, 0.4), (20, 0.5), (25, 0.1))
    said = "also other: 25 of 40 samples are used, drawn at random (limit)"
    assert [note for note in data.notes if "limit" in note] == [said]
    again = mixed(tmp_path, MixSpec(dataset="more", share=0.5), MixSpec(dataset="other", limit=25))
    assert again.train.rows.tolist() == data.train.rows.tolist()
    assert again.digest == data.digest


def test_images_shares_and_limits_enter_the_digests(tmp_path, digits) -> None:
    write_images(tmp_path / "more", noise(20))
    entry = MixSpec(dataset="more", share=0.5)
    kinds = [
        mixed(tmp_path, *also)
        for also in ([], [entry], [MixSpec(dataset="more")], [msgspec.structs.replace(entry, limit=10)])
    ]
    write_images(tmp_path / "more", 255 - noise(20))
    kinds.append(mixed(tmp_path, entry))
    for digests in zip(
        *[(one.digest, one.train.digest, one.info.extra["sources"]["train"]) for one in kinds], strict=True
    ):
        assert len(set(digests)) == 5


def test_other_sizes_and_missing_sources_are_refused(tmp_path, digits) -> None:
    write_images(tmp_path / "large", noise(3, size=9))
    with pytest.raises(
        UsageError,
        match=r"images of large are \[9, 9, 1\].* those of digits \[8, 8, 1\]; set data.image_size",
    ):
        mixed(tmp_path, MixSpec(dataset="large"))
    with pytest.raises(UsageError, match=r"data\.also\.dataset: none was not found"):
        mixed(tmp_path, MixSpec(dataset="none"))
    write_images(tmp_path / "same", digits.train.inputs[digits.train.rows[:4]])
    with pytest.raises(UsageError, match=r"data\.also\.dataset: same adds no sample"):
        mixed(tmp_path, MixSpec(dataset="same"))
    with pytest.warns(UserWarning, match="text_column has no effect on images"):
        mixed(tmp_path, MixSpec(dataset="digits", text_column="words"))


def test_labels_of_a_further_source_are_not_even_read(tmp_path, digits) -> None:
    for name in ("7up", "cat"):
        write_images(tmp_path / "classes" / name, noise(4 if name == "cat" else 2)[:, ::-1])
    [one] = open_further(
        "classes", DataSpec(dataset="x", color="grey"), Opening(base=tmp_path), image_column=None, key="k"
    )
    assert one.rows.tolist() == [0, 1, 2, 3, 4, 5]
    assert mixed(tmp_path, MixSpec(dataset="classes")).info.classes == digits.info.classes


def test_digests_of_a_split_are_those_of_its_rows(digits) -> None:
    assert len(image_digests(digits, "select")) == len(digits.select)
    same = digits.select.inputs[digits.select.rows[:1]]
    at = [
        row
        for row in range(len(digits.select))
        if (digits.select.inputs[digits.select.rows[row]] == same[0]).all()
    ]
    found = image_digests(digits, "select")
    assert set(np.flatnonzero(found == found[0]).tolist()) == set(at)
