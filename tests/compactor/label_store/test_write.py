"""Writing a store: shards and sizes by hand, shares, other stores, rests of killed processes, a full disk."""

import errno
import hashlib
import io
import os
from pathlib import Path

import numpy as np
import pytest

from compactor.label_store.header import STORE_FILE, Payload, read_header
from compactor.label_store.store import open_store
from compactor.label_store.write import UNFINISHED_FILE, StoreWriter, forecast_bytes, ids_file, shard_rows_of
from compactor_runtimes.errors import IntegrityError, UnfitEnvironmentError, UsageError
from tests.compactor import label_toys
from tests.file_modes import EXPECTED, modes, umask
from tests.full_disk import no_room


def writer(folder: Path, **changes: object) -> StoreWriter:
    data = label_toys.splits()
    return StoreWriter(
        folder, label_toys.header(data, **changes), {name: split.rows for name, split in data.items()}
    )


def fill(making: StoreWriter, most: int = 1000, share: tuple[int, int] = (1, 1)) -> list[str]:
    """Make up to `most` shards, each of its own number; return their files."""
    made: list[str] = []
    for job in making.claim(share):
        records = making.empty(job)
        records["label.ids"] = job.number
        making.write(job, records)
        made.append(job.file)
        if len(made) == most:
            break
    return made


def test_rows_of_a_shard_by_hand() -> None:
    """About 8192 records, at least one row, at most 512 shards: all must be mapped at once."""
    assert shard_rows_of(50_000, 1) == 8192
    assert shard_rows_of(50_000, 16) == 512
    assert shard_rows_of(50_000, 500) == 98  # ceil(8192 / 500) = 17 rows would give 2942 shards
    assert shard_rows_of(50, 100_000) == 1
    assert shard_rows_of(1_281_167, 500) == 2503


@pytest.mark.parametrize("mask", EXPECTED)
def test_files_of_a_store_respect_the_umask(tmp_path: Path, mask: int) -> None:
    with umask(mask):
        making = writer(tmp_path / "store")
        fill(making)
        making.finish()
    assert modes(tmp_path / "store") == EXPECTED[mask]


def test_the_forecast_is_the_size_of_what_is_written(tmp_path: Path) -> None:
    """Records of 24 bytes and ids of 8, without the files' own headers of 128 to 256 bytes."""
    making = writer(tmp_path)
    files = fill(making)
    making.finish()
    assert forecast_bytes(making.header) == (24 * 6 + 6) * 24 + (24 + 6) * 8
    names = [*files, "train-ids.npy", "select-ids.npy"]
    content = sum((tmp_path / name).stat().st_size for name in names)
    assert forecast_bytes(making.header) + 128 * len(names) <= content
    assert content <= forecast_bytes(making.header) + 256 * len(names)


def test_store_json_appears_last(tmp_path: Path) -> None:
    making = writer(tmp_path)
    assert [job.file for job in making.jobs_of_all] == [
        *(f"train-{number:05d}.npy" for number in range(5)),
        "select-00000.npy",
        "select-00001.npy",
    ]
    assert [(job.first, job.rows) for job in making.jobs_of_all] == [
        (0, 5), (5, 5), (10, 5), (15, 5), (20, 4), (0, 5), (5, 1),
    ]  # fmt: skip
    for left in range(6, -1, -1):
        assert making.finish() is None
        assert not (tmp_path / STORE_FILE).exists()
        assert read_header(tmp_path, UNFINISHED_FILE) == making.header
        fill(making, most=1)
        assert len(making.missing()) == left
    header = making.finish()
    assert header == open_store(tmp_path).header
    assert not (tmp_path / UNFINISHED_FILE).exists()


def test_shares_divide_the_shards_and_the_last_one_finishes(tmp_path: Path) -> None:
    found = []
    for number in (3, 1, 2):
        making = writer(tmp_path)
        found.append(fill(making, share=(number, 3)))
        assert (making.finish() is None) == (number != 2)
    assert [len(part) for part in found] == [2, 3, 2]
    assert sorted(sum(found, [])) == sorted(job.file for job in making.jobs_of_all)
    assert found[1] == ["train-00000.npy", "train-00003.npy", "select-00001.npy"]


@pytest.mark.parametrize("finished", [False, True])
def test_another_store_is_never_written_over(tmp_path: Path, finished: bool) -> None:
    making = writer(tmp_path)
    if finished:
        fill(making)
        making.finish()
    before = label_toys.contents(tmp_path)
    for changes in ({"seed": 1}, {"payload": Payload(kind="hard")}, {"teachers": []}, {"views": 7}):
        with pytest.raises(UsageError, match="holds other labels"):
            writer(tmp_path, **changes)
    assert label_toys.contents(tmp_path) == before
    writer(tmp_path)


def test_rests_of_a_killed_process_go(tmp_path: Path) -> None:
    writer(tmp_path)
    for name in (".train-00002.npy.123", ".select-00000.npy.99999"):
        (tmp_path / name).write_bytes(b"half a shard")
    making = writer(tmp_path)
    fill(making)
    making.finish()
    assert not [name for name in label_toys.contents(tmp_path) if name.startswith(".")]


def test_a_finished_store_is_left_as_it_is(tmp_path: Path) -> None:
    making = writer(tmp_path)
    fill(making)
    making.finish()
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.npy")}
    again = writer(tmp_path)
    assert fill(again) == []
    again.finish()
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.npy")} == before
    assert not (tmp_path / UNFINISHED_FILE).exists()


def test_remaking_one_shard_does_not_approve_the_damage_of_another(tmp_path: Path) -> None:
    """Two files are damaged, opening names the first; when that one is made again, the second is named."""
    making = writer(tmp_path)
    fill(making)
    making.finish()
    whole = label_toys.contents(tmp_path)
    for name in ("train-00001.npy", "train-00003.npy"):
        (tmp_path / name).write_bytes(whole[name][:-1] + b"?")
    with pytest.raises(IntegrityError, match=r"train-00001\.npy: is damaged"):
        open_store(tmp_path)
    (tmp_path / "train-00001.npy").unlink()
    again = writer(tmp_path)
    assert fill(again) == ["train-00001.npy"]
    again.finish()
    with pytest.raises(IntegrityError, match=r"train-00003\.npy: is damaged"):
        open_store(tmp_path)
    (tmp_path / "train-00003.npy").unlink()
    again = writer(tmp_path)
    fill(again)
    again.finish()
    open_store(tmp_path)
    assert label_toys.contents(tmp_path) == whole


def test_a_full_disk_loses_nothing_and_leaves_no_half_file(tmp_path: Path) -> None:
    making = writer(tmp_path)
    fill(making, most=2)
    before = label_toys.contents(tmp_path)
    job = next(iter(making.claim()))
    with no_room(500), pytest.raises(UnfitEnvironmentError, match=r"train-00002\.npy: File too large"):
        making.write(job, making.empty(job))
    assert label_toys.contents(tmp_path) == before
    fill(making)
    assert making.finish() is not None
    open_store(tmp_path)


@pytest.mark.parametrize("at", ["shard", "store.json"])
def test_a_disk_that_fills_when_data_are_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """Network and delayed-allocation file systems say so as late as fsync: nothing appears under its name."""
    making = writer(tmp_path)
    fill(making, most=2 if at == "shard" else 1000)
    before = label_toys.contents(tmp_path)

    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UnfitEnvironmentError, match="No space left"):
        fill(making) if at == "shard" else making.finish()
    assert label_toys.contents(tmp_path) == before
    monkeypatch.undo()
    fill(making)
    assert making.finish() is not None
    assert np.array_equal(open_store(tmp_path).train.column("label.ids")[20:], np.full((4, 6, 5), 4))


@pytest.mark.parametrize(
    "ids", [np.zeros(0, np.int64), np.arange(5), np.arange(10)[::2], np.arange(3, dtype=">i8")]
)
def test_ids_are_a_plain_array_file(ids: "np.ndarray") -> None:
    content = io.BytesIO()
    np.save(content, ids.astype("<i8"))
    name, found, digest = ids_file("train", ids)
    assert (name, found) == ("train-ids.npy", content.getvalue())
    assert digest == hashlib.sha256(found).hexdigest()
