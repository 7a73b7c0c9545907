"""Labelling: what the teacher saw is what is replayed, whoever makes it, and however often it is killed."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from compactor.data.augment import apply_crops
from compactor.data.image_loader import ImageLoader
from compactor.data.spec import AugmentSpec
from compactor.label_store.header import STORE_FILE, Payload
from compactor.label_store.store import StorePart, open_store
from compactor.label_store.write import UNFINISHED_FILE
from compactor.progress import Bar, SilentReporter
from compactor.tasks.image_classification import TASK
from compactor_runtimes.errors import IntegrityError, InterruptedRun, UnfitEnvironmentError
from tests.compactor import label_toys

FULL = Payload(kind="full")


def everything(part: StorePart) -> tuple[np.ndarray, np.ndarray]:
    """Ids and views of all records of a part, in stored order."""
    return np.repeat(part.ids, part.views), np.tile(np.arange(part.views), len(part.ids))


@pytest.mark.parametrize("boxes", ["pixels", "relative"])
@pytest.mark.parametrize("augment", [label_toys.PAD, label_toys.RESIZED, label_toys.FITTING, AugmentSpec()])
def test_replays_are_pixel_identical_to_what_the_teacher_saw(
    tmp_path: Path, boxes: str, augment: AugmentSpec
) -> None:
    """Invariant 13, through the task and through the training loader, at any place of any batch."""
    watched = label_toys.Watched(label_toys.teacher())
    data = label_toys.splits()
    wanted = label_toys.header(data, boxes=boxes, augment=augment)
    store = label_toys.store(tmp_path, wanted, teachers=[watched], data=data)
    seen = torch.cat(watched.seen)
    assert len(seen) == 24 * 6 + 6
    train = store.train
    ids, view = everything(train)
    records = train.records(ids, view)
    crops = train.crops(records, view)
    if augment.crop == "pad":
        assert bool((crops.box[:, :2] < 0).any())
        assert bool((crops.box[:, :2] > 0).any())
    if augment.crop == "random-resized":
        assert len(np.unique(records["box"][:, 2:], axis=0)) > 10
    assert bool(crops.flip.any()) == augment.flip
    rng = np.random.default_rng(0)
    order = rng.permutation(len(ids))
    for start in range(0, len(ids), 11):
        some = order[start : start + 11]
        crops = train.crops(train.records(ids[some], view[some]), view[some])
        batch = TASK.batch(data["train"], ids[some], crops)
        assert torch.equal(batch.x["pixel_values"], seen[torch.from_numpy(some)])

    loader = ImageLoader(data["train"], batch_size=5, augment=label_toys.PAD, seed=9)
    second = np.full(5, 2)
    for batch in loader.epoch(
        0, rng.permutation(20), crops=lambda ids, _: train.crops(train.records(ids, second), second)
    ):
        rows = torch.from_numpy(train.positions(batch.id.numpy())) * 6 + 2
        assert torch.equal(batch.x["pixel_values"], seen[rows])

    assert store.parts["select"].views == 1
    select = torch.from_numpy(data["select"].inputs[data["select"].rows])
    whole = (select.float() / 255).permute(0, 3, 1, 2)
    assert torch.equal(seen[24 * 6 :], whole)
    ids, view = everything(store.parts["select"])
    replayed = store.parts["select"].crops(store.parts["select"].records(ids, view), view)
    assert torch.equal(apply_crops(data["select"].inputs[ids], replayed, 8, 8), whole)


def test_float32_boxes_and_pixel_boxes_are_the_same_views(tmp_path: Path) -> None:
    data = label_toys.splits()
    found = []
    for boxes in ("pixels", "relative"):
        store = label_toys.store(
            tmp_path / boxes, label_toys.header(data, boxes=boxes, augment=label_toys.RESIZED)
        )
        ids, view = everything(store.train)
        found.append(store.train.crops(store.train.records(ids, view), view))
    assert torch.equal(found[0].box, found[1].box)
    assert torch.equal(found[0].flip, found[1].flip)
    assert torch.equal(found[0].index, found[1].index)


def said(model: nn.Module, store_part: StorePart) -> torch.Tensor:
    """The softmax [records, C] of a model on the replayed views, one forward for all."""
    ids, view = everything(store_part)
    crops = store_part.crops(store_part.records(ids, view), view)
    pixels = TASK.batch(label_toys.splits()["train"], ids, crops).x["pixel_values"]
    with torch.no_grad():
        return model.eval()(pixels)["label"].softmax(-1)


def test_labels_are_the_teachers_softmax(whole: Path) -> None:
    """k = 5 in float16: the head within 2^-10 of it, and what all others lose goes to the largest."""
    train = open_store(whole).train
    p = said(label_toys.teacher(), train)
    ids, view = everything(train)
    soft = train.soft(train.records(ids, view), "label", "marginal-smoothing", 5)
    head, classes = p.topk(5)
    assert soft.ids is not None
    assert soft.p is not None
    # batches of other sizes may round the teacher's last bit differently, so order may change among equals
    near = (head[:, :-1] - head[:, 1:]).min(1).values > 1e-5
    assert near.sum() > 100
    assert torch.equal(soft.ids[near], classes[near])
    torch.testing.assert_close(soft.p[:, 1:], head[:, 1:], rtol=2.0**-10, atol=1e-6)
    torch.testing.assert_close(soft.p[:, 0], head[:, 0], rtol=0, atol=2.0**-10)


def test_teachers_are_averaged_as_whole_vectors_and_then_compressed(tmp_path: Path) -> None:
    """2.4b: the k largest of the mean; a mean of truncated vectors would be another."""
    both = [label_toys.teacher(8), label_toys.teacher(9)]
    payload = Payload(kind="top-k", k=2, probabilities="float32")
    train = label_toys.store(tmp_path, label_toys.header(payload=payload), teachers=list(both)).train
    one, two = (said(model, train) for model in both)
    mean = (one + two) / 2
    ids, view = everything(train)
    found = train.soft(train.records(ids, view), "label", "marginal-smoothing", 2).dense_log_p(10).exp()

    def smoothed(p: torch.Tensor) -> torch.Tensor:
        head, classes = p.topk(2)
        return ((1 - head.sum(-1, keepdim=True)) / 8).expand(-1, 10).clone().scatter(1, classes, head)

    near = mean.topk(3).values.diff().abs().min(1).values > 1e-5
    assert near.sum() > 100
    # the spread of a tail of rounding errors is far below, the mixer's log and exp lose some 1e-7
    torch.testing.assert_close(found[near], smoothed(mean)[near], atol=2e-6, rtol=0)
    truncated = (smoothed(one) + smoothed(two)) / 2
    assert (found - truncated).abs().max() > 0.01


def test_full_labels_hold_what_the_mixer_says(tmp_path: Path) -> None:
    train = label_toys.store(tmp_path, label_toys.header(payload=FULL)).train
    ids, view = everything(train)
    soft = train.soft(train.records(ids, view), "label", "full", 5)
    # a forward of 144 rows against forwards of 7: float32 noise of the matrix product
    torch.testing.assert_close(
        soft.dense_log_p(10).exp(), said(label_toys.teacher(), train), atol=1e-6, rtol=0
    )


def test_views_differ_between_samples_and_views_and_with_the_seed(tmp_path: Path) -> None:
    store = label_toys.store(tmp_path / "a", label_toys.header(augment=label_toys.RESIZED))
    other = label_toys.store(tmp_path / "b", label_toys.header(augment=label_toys.RESIZED, seed=1))
    boxes = store.train.column("box").reshape(-1, 4)
    assert len(np.unique(boxes, axis=0)) > 50
    assert (boxes != other.train.column("box").reshape(-1, 4)).any(1).mean() > 0.9
    assert 40 < store.train.column("flip").sum() < 104  # of 144


class _At(SilentReporter):
    """Do something to this process when `done` records are labelled."""

    def __init__(self, done: int, act: object) -> None:
        self.done, self.act = done, act

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Bar]:
        reporter = self

        class Watch:
            def at(self, done: int, text: str = "", total: int | None = None) -> None:
                if done >= reporter.done and text:
                    reporter.done = 10**9
                    reporter.act()  # type: ignore[operator]

        yield Watch()


def ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("after", [1, 40, 145])
def test_interrupted_and_resumed_equals_uninterrupted(whole: Path, tmp_path: Path, after: int) -> None:
    """Ctrl-C in the first shard, in a later one, in the select part: finished shards stay."""
    with pytest.raises(InterruptedRun, match=r"stopped after \d+ of 150 records, finished shards are kept"):
        label_toys.make(tmp_path, reporter=_At(after, ctrl_c))
    kept = sorted(path.name for path in tmp_path.glob("[!.]*-0*.npy"))
    assert len(kept) == {1: 0, 40: 1, 145: 5}[after]
    assert not (tmp_path / STORE_FILE).exists()
    assert (tmp_path / UNFINISHED_FILE).is_file()
    times = {name: (tmp_path / name).stat().st_mtime_ns for name in kept}
    assert label_toys.make(tmp_path) is not None
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in kept} == times
    assert label_toys.contents(tmp_path) == label_toys.contents(whole)


def test_a_time_limit_stops_like_the_user(tmp_path: Path) -> None:
    with pytest.raises(InterruptedRun, match=r"stopped by --max-hours after 7 of 150 records"):
        label_toys.make(tmp_path, deadline_s=0.0)


def test_shares_of_several_machines_are_the_same_store(whole: Path, tmp_path: Path) -> None:
    for number in (2, 3, 1):
        finished = label_toys.make(tmp_path, share=(number, 3))
        assert (finished is None) == (number != 1)
    assert label_toys.contents(tmp_path) == label_toys.contents(whole)


@pytest.mark.parametrize("name", ["train-00004.npy", "select-00000.npy", "train-ids.npy"])
def test_a_damaged_file_that_was_deleted_is_made_alone(whole: Path, damaged: Path, name: str) -> None:
    (damaged / name).write_bytes(b"x")
    with pytest.raises(IntegrityError, match=name):
        open_store(damaged)
    (damaged / name).unlink()
    others = {path.name: path.stat().st_mtime_ns for path in damaged.glob("*.npy")}
    watched = label_toys.Watched(label_toys.teacher())
    label_toys.make(damaged, teachers=[watched])
    rows = {"train-00004.npy": 4 * 6, "select-00000.npy": 5, "train-ids.npy": 0}[name]
    assert sum(len(batch) for batch in watched.seen) == rows
    assert {
        path.name: path.stat().st_mtime_ns for path in damaged.glob("*.npy") if path.name != name
    } == others
    assert label_toys.contents(damaged) == label_toys.contents(whole)
    open_store(damaged)


def test_a_full_disk_keeps_finished_shards_and_the_same_call_goes_on(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fills at the third shard."""
    real, calls = os.fsync, []

    def sync(number: int) -> None:
        calls.append(number)
        if len(calls) == 3 + 3:  # the header, two files of ids, then shards
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(number)

    monkeypatch.setattr(os, "fsync", sync)
    with pytest.raises(UnfitEnvironmentError, match=r"train-00002\.npy: No space left"):
        label_toys.make(tmp_path)
    assert sorted(label_toys.contents(tmp_path)) == [
        "select-ids.npy", "train-00000.npy", "train-00001.npy", "train-ids.npy", UNFINISHED_FILE,
    ]  # fmt: skip
    monkeypatch.undo()
    label_toys.make(tmp_path)
    assert label_toys.contents(tmp_path) == label_toys.contents(whole)


_PROCESS = """
import sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
import torch
torch.set_num_threads(1)
from compactor.label_store.write import StoreWriter
from tests.compactor import label_toys
write = StoreWriter.write
def told(self, job, records):
    if {hang!r} == job.file:
        (self.folder / f".{{job.file}}.1").write_bytes(b"half")
        print("hangs", flush=True)
        time.sleep(600)
    write(self, job, records)
    print(job.file, flush=True)
StoreWriter.write = told
print("ready", flush=True)
sys.stdin.readline()
label_toys.make(Path({folder!r}))
"""


class _Process:
    """A labelling process that starts at `go`; with `hang` it never ends that shard."""

    def __init__(self, folder: Path, hang: str = "") -> None:
        root = str(Path(__file__).parents[3])
        self.child = subprocess.Popen(
            [sys.executable, "-c", _PROCESS.format(root=root, folder=str(folder), hang=hang)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def go(self) -> None:
        assert self.child.stdout is not None
        assert self.child.stdin is not None
        assert self.child.stdout.readline() == "ready\n"
        self.child.stdin.write("\n")
        self.child.stdin.flush()

    def lines(self) -> list[str]:
        """What it printed until it ended."""
        out, _ = self.child.communicate(timeout=60)
        assert self.child.returncode == 0
        return out.split()


@pytest.mark.slow
def test_two_processes_share_the_work_and_one_takes_over_from_the_killed(whole: Path, tmp_path: Path) -> None:
    """The first hangs while it holds a shard, half of it on disk, and is killed; the second makes the rest.

    Each shard is made once, and all bytes are those of one process that was left alone.
    """
    first, second = processes = [_Process(tmp_path, hang="train-00001.npy"), _Process(tmp_path)]
    try:
        first.go()
        assert first.child.stdout is not None
        assert [first.child.stdout.readline() for _ in range(2)] == ["train-00000.npy\n", "hangs\n"]
        second.go()
        assert second.child.stdout is not None
        made = [second.child.stdout.readline().strip() for _ in range(5)]  # all that the first does not hold
        assert not (tmp_path / "train-00001.npy").exists()
        assert not (tmp_path / STORE_FILE).exists()
        first.child.kill()
        made += second.lines()
        assert made == [
            *(f"train-{number:05d}.npy" for number in (2, 3, 4)),
            *(f"select-{number:05d}.npy" for number in (0, 1)),
            "train-00001.npy",
        ]
        assert label_toys.contents(tmp_path) == label_toys.contents(whole)
    finally:
        for process in processes:
            process.child.kill()
            process.child.wait()
            for pipe in (process.child.stdin, process.child.stdout):
                if pipe is not None:
                    pipe.close()
