"""The decoded cache: found again, remade when broken, safe with concurrent writers, never half visible."""

import json
import threading

import numpy as np
import pytest
from PIL import Image

from compactor.data.cache import IMAGES_PER_JOB, Opening, image_steps, store
from compactor.data.image_folder import open_folder
from compactor.records import DataInfo, ImageInfo
from compactor_runtimes.bundle.manifest import CenterCrop, Cover, DecodeImage, Resize
from compactor_runtimes.errors import UsageError
from compactor_runtimes.predict.images import to_uint8
from tests.file_modes import EXPECTED, modes, umask

GREY = [DecodeImage(mode="L")]
COUNT = 2 * IMAGES_PER_JOB + 10  # three jobs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for row in range(COUNT):
        pixels = np.array([[row % 256, row // 256]], dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{row:04}.png")
    return folder


def fill(folder, tmp_path, steps=GREY, progress=None):
    return store(open_folder(folder, None), steps, Opening(cache=tmp_path, progress=progress))


def entries(tmp_path):
    return sorted(path.name for path in (tmp_path / "data").iterdir())


def test_images_are_decoded_in_order_into_a_memory_map(folder, tmp_path):
    calls = []
    stored = fill(folder, tmp_path, progress=lambda done, total: calls.append((done, total)))
    assert isinstance(stored.inputs, np.memmap)
    assert stored.inputs.shape == (COUNT, 1, 2, 1)
    numbers = stored.inputs[:, 0, :, 0].astype(int) @ [1, 256]
    assert numbers.tolist() == list(range(COUNT))
    assert calls == [(IMAGES_PER_JOB, COUNT), (2 * IMAGES_PER_JOB, COUNT), (COUNT, COUNT)]
    assert entries(tmp_path) == [stored.digest]


@pytest.mark.parametrize("mask", EXPECTED)
def test_files_of_the_cache_respect_the_umask(folder, tmp_path, mask):
    with umask(mask):
        fill(folder, tmp_path / "cache")
    assert modes(tmp_path / "cache") == EXPECTED[mask]


def test_order_holds_when_many_more_jobs_than_threads_are_waiting(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("compactor.data.cache.IMAGES_PER_JOB", 4)
    stored = fill(folder, tmp_path)
    assert (stored.inputs[:, 0, :, 0].astype(int) @ [1, 256]).tolist() == list(range(COUNT))


def test_second_opening_decodes_nothing(folder, tmp_path):
    first = fill(folder, tmp_path)
    before = (tmp_path / "data" / first.digest / "images.npy").stat().st_mtime_ns

    def fail(done, total):
        raise AssertionError("decoded again")

    second = fill(folder, tmp_path, progress=fail)
    assert second.digest == first.digest
    assert (tmp_path / "data" / first.digest / "images.npy").stat().st_mtime_ns == before


def test_other_steps_are_another_entry(folder, tmp_path):
    rgb = fill(folder, tmp_path, steps=[DecodeImage(mode="RGB")])
    assert rgb.inputs.shape == (COUNT, 1, 2, 3)
    assert rgb.digest != fill(folder, tmp_path).digest


@pytest.mark.parametrize("damage", ["no meta", "half meta", "half images", "no labels"])
def test_broken_entry_is_made_again(folder, tmp_path, damage):
    first = fill(folder, tmp_path)
    expected, entry = first.inputs[:].copy(), tmp_path / "data" / first.digest
    name = {"no meta": "meta.json", "half meta": "meta.json", "half images": "images.npy"}.get(
        damage, "labels.npy"
    )
    content = (entry / name).read_bytes()
    (entry / name).unlink()
    if damage.startswith("half"):
        (entry / name).write_bytes(content[: len(content) // 2])
    again = fill(folder, tmp_path)
    assert (again.inputs == expected).all()
    assert json.loads((entry / "meta.json").read_text())["shape"] == [COUNT, 1, 2, 1]
    assert entries(tmp_path) == [first.digest]


def test_concurrent_writers_end_with_one_whole_entry(folder, tmp_path):
    barrier = threading.Barrier(2)
    results, started = [], set()

    def wait_once(done, total):
        if threading.get_ident() not in started:
            started.add(threading.get_ident())
            barrier.wait(timeout=20)  # both are writing before either can publish

    def work():
        results.append(fill(folder, tmp_path, progress=wait_once))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 2
    assert (results[0].inputs == results[1].inputs).all()
    assert entries(tmp_path) == [results[0].digest]


def test_failed_decoding_leaves_nothing_behind(tmp_path):
    source = tmp_path / "bad"
    source.mkdir()
    (source / "0.png").write_bytes(b"no image")
    with pytest.raises(UsageError, match=r"0\.png"):
        fill(source, tmp_path / "cache")
    assert entries(tmp_path / "cache") == []


def test_cache_folder_that_cannot_be_written_is_named(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cache folder .*file/data cannot be written .*\$COMPACTOR_CACHE"):
        fill(folder, tmp_path / "file")


def test_variable_moves_the_cache(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("COMPACTOR_CACHE", str(tmp_path / "there"))
    stored = store(open_folder(folder, None), GREY, Opening())
    assert (tmp_path / "there" / "data" / stored.digest / "meta.json").is_file()


def test_bundle_steps_give_the_stored_pixels(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "set").mkdir()
    path = tmp_path / "set" / "0.png"
    Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(path)
    steps = [DecodeImage(mode="RGB"), Resize(size=16), CenterCrop(height=16, width=16)]
    stored = fill(tmp_path / "set", tmp_path, steps=steps)
    info = DataInfo("image-classification", {"label": []}, ImageInfo(*stored.inputs.shape[1:]))
    assert image_steps(info) == steps
    assert (to_uint8(path, image_steps(info)) == stored.inputs[0]).all()
    # stored as they are: resizing to the size that an image has must change nothing
    whole = fill(tmp_path / "set", tmp_path, steps=steps[:1])
    info = DataInfo("image-classification", {"label": []}, ImageInfo(*whole.inputs.shape[1:]))
    assert (to_uint8(path, image_steps(info)) == whole.inputs[0]).all()


@pytest.mark.parametrize("stored", [(48, 32), (32, 48), (480, 640)])
@pytest.mark.parametrize("size", [(640, 480), (48, 64), (300, 300), (484, 644), (10, 90), (90, 10), (1, 1)])
def test_images_of_every_shape_fit_bundles_of_every_shape(stored, size):
    info = DataInfo("image-classification", {"label": []}, ImageInfo(*stored, 3))
    steps = image_steps(info)
    assert steps[1:] == [
        Cover(height=stored[0], width=stored[1]),
        CenterCrop(height=stored[0], width=stored[1]),
    ]
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert to_uint8(image, steps).shape == (*stored, 3)
    own = np.random.default_rng(1).integers(0, 256, (*stored, 3), dtype=np.uint8)
    assert np.array_equal(to_uint8(own, steps), own)


def test_a_thinned_source_decodes_evenly_spread_rows_only(folder, tmp_path):
    few = store(open_folder(folder, None), GREY, Opening(cache=tmp_path, at_most=5))
    expected = np.linspace(0, COUNT - 1, 5).round().astype(int).tolist()
    assert (few.inputs[:, 0, :, 0].astype(int) @ [1, 256]).tolist() == expected
    assert few.digest != fill(folder, tmp_path).digest


def test_copies_and_further_frames_are_told_by_new_and_kept_caches(tmp_path):
    from compactor.data.datasets import open_dataset
    from compactor.data.spec import DataSpec

    root = tmp_path / "set"
    for split in ("train", "val", "test"):
        for name in ("a", "b"):
            (root / split / name).mkdir(parents=True)
    frames = [Image.new("L", (4, 4), value) for value in (1, 2)]
    for row in range(4):
        for split in ("train", "val", "test"):
            Image.new("L", (4, 4), 50 + 10 * row + len(split)).save(root / split / "a" / f"{row}.png")
            Image.new("L", (4, 4), 150 + 10 * row + len(split)).save(root / split / "b" / f"{row}.png")
    frames[0].save(root / "train" / "a" / "moving.gif", save_all=True, append_images=frames[1:])
    Image.new("L", (4, 4), 1).save(root / "test" / "a" / "still.bmp")  # the same pixels in another format
    Image.new("L", (4, 4), 55).save(root / "val" / "b" / "other.png")  # 50 + len("train")
    for _ in range(2):
        notes = open_dataset(DataSpec(dataset=str(root), color="grey"), base=None, cache=tmp_path / "c").notes
        assert notes == (
            "train: 1 of 9 files hold several images (frames or pages): the first is read",
            "1 of 9 select images are copies of images in train: they are no test of what was learnt",
            "1 of 9 report images are copies of images in train or select: they are no test of what was "
            "learnt",
            "1 images occur with two labels or more: no answer is right for all their copies",
        )


@pytest.mark.parametrize("broken", [(0,), (3, 4), (0, 1, 2, 3, 4)])
def test_images_that_cannot_be_decoded_are_left_out_by_choice_and_named(tmp_path, broken, monkeypatch):
    monkeypatch.setattr("compactor.data.cache.IMAGES_PER_JOB", 4)
    source = tmp_path / "some"
    source.mkdir()
    for row in range(9):
        Image.new("L", (2, 2), 20 * row).save(source / f"{row}.png")
    for row in broken:
        (source / f"{row}.png").write_bytes(b"no image")
    opening = Opening(cache=tmp_path / "cache")
    with pytest.raises(UsageError, match=rf"{broken[0]}\.png"):
        store(open_folder(source, None), GREY, opening)
    for _ in range(2):  # decoded, then from the cache
        kept = store(open_folder(source, None), GREY, opening, skips=True)
        assert (kept.inputs[:, 0, 0, 0] // 20).tolist() == [row for row in range(9) if row not in broken]
        assert len(kept.labels) == len(kept.digests) == 9 - len(broken)
        [note] = kept.notes
        assert note.startswith(f"{len(broken)} of 9 images cannot be decoded: ")
        assert f"{broken[0]}.png" in note
        assert note.endswith("they are left out (unreadable: skip)")
        assert (" and 2 more" in note) == (len(broken) == 5)
    whole = tmp_path / "whole"
    whole.mkdir()
    Image.new("L", (2, 2), 1).save(whole / "0.png")
    assert store(open_folder(whole, None), GREY, opening, skips=True).notes == ()


def test_nothing_is_left_where_no_image_can_be_decoded(tmp_path):
    source = tmp_path / "bad"
    source.mkdir()
    (source / "0.png").write_bytes(b"no image")
    with pytest.raises(UsageError, match=r"no image can be decoded .*0\.png.*expected at least one"):
        store(open_folder(source, None), GREY, Opening(cache=tmp_path / "cache"), skips=True)
