"""Batches: the same for every world size, resumable without state, replayable."""

import numpy as np
import pytest
import torch

from compactor.data.augment import apply_crops, sample_crops
from compactor.data.image_loader import ImageLoader, eval_batches
from compactor.data.spec import AugmentSpec
from compactor.data.splits import Split

AUGMENT = AugmentSpec(crop="random-resized", flip=True)


@pytest.fixture(scope="module")
def split():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 6, 5, 3), dtype=np.uint8)
    rows = np.arange(10, 60, 2)  # 25 rows; ids are not positions
    return Split("train", images, {"label": np.arange(60) % 7}, rows, "digest")


def loader(split, **settings):
    return ImageLoader(split, **({"batch_size": 8, "augment": AUGMENT, "seed": 3} | settings))


def positions(n=25):
    return np.random.default_rng(1).permutation(25)[:n]


def same(first, second):
    return (
        torch.equal(first.x["pixel_values"], second.x["pixel_values"])
        and torch.equal(first.y["label"], second.y["label"])
        and torch.equal(first.id, second.id)
        and torch.equal(first.crop.box, second.crop.box)
        and torch.equal(first.crop.flip, second.crop.flip)
    )


def test_batches_visit_the_positions_in_order_with_their_labels(split):
    order = positions(20)
    batches = list(loader(split).epoch(0, order))
    assert [batch.size for batch in batches] == [8, 8, 4]
    ids = torch.cat([batch.id for batch in batches])
    assert ids.tolist() == split.rows[order].tolist()
    assert torch.cat([batch.y["label"] for batch in batches]).tolist() == (ids % 7).tolist()
    assert batches[0].x["pixel_values"].shape == (8, 3, 6, 5)
    assert batches[0].y["label"].dtype == batches[0].id.dtype == torch.int64


def test_recorded_crops_are_those_that_were_applied(split):
    for batch in loader(split, size=(4, 4)).epoch(0, positions()):
        assert torch.equal(
            batch.x["pixel_values"], apply_crops(split.inputs[batch.id.numpy()], batch.crop, 4, 4)
        )


@pytest.mark.parametrize(("n", "steps"), [(0, 0), (1, 0), (2, 1), (8, 1), (9, 1), (10, 2), (16, 2), (25, 3)])
def test_last_batch_of_one_sample_is_skipped(split, n, steps):
    assert loader(split).steps(n) == steps
    assert len(list(loader(split).epoch(0, positions(n)))) == steps


def test_epochs_and_seeds_and_steps_differ_but_repeat(split):
    order = np.zeros(24, dtype=np.int64)  # one image again and again, so that only the views differ
    boxes = [batch.crop.box for batch in loader(split).epoch(0, order)]
    assert not torch.equal(boxes[0], boxes[1])
    assert not torch.equal(boxes[0], next(loader(split).epoch(1, order)).crop.box)
    assert not torch.equal(boxes[0], next(loader(split, seed=4).epoch(0, order)).crop.box)
    assert torch.equal(boxes[0], next(loader(split).epoch(0, order)).crop.box)


def test_start_continues_as_if_never_stopped(split):
    whole = list(loader(split).epoch(2, positions(24)))
    rest = list(loader(split).epoch(2, positions(24), start=1))
    assert len(rest) == 2
    assert all(same(first, second) for first, second in zip(whole[1:], rest, strict=True))


@pytest.mark.parametrize("world", [2, 3, 5])
def test_ranks_together_are_the_single_process(split, world):
    single = list(loader(split).epoch(1, positions(20)))
    ranks = [list(loader(split, rank=rank, world=world).epoch(1, positions(20))) for rank in range(world)]
    for step, whole in enumerate(single):
        parts = [batches[step] for batches in ranks]
        sizes = [len(part) for part in np.array_split(np.arange(whole.size), world)]
        assert [part.size for part in parts] == sizes
        assert torch.equal(torch.cat([part.x["pixel_values"] for part in parts]), whole.x["pixel_values"])
        assert torch.equal(torch.cat([part.id for part in parts]), whole.id)
        assert torch.equal(torch.cat([part.crop.box for part in parts]), whole.crop.box)


def test_more_ranks_than_samples_leave_empty_parts(split):
    batches = [
        list(loader(split, batch_size=2, rank=rank, world=3).epoch(0, positions(2))) for rank in range(3)
    ]
    assert [[batch.size for batch in rank] for rank in batches] == [[1], [1], [0]]
    assert batches[2][0].x["pixel_values"].shape == (0, 3, 6, 5)


def test_recorded_views_replace_drawn_ones(split):
    drawn = list(loader(split).epoch(0, positions(16)))
    record = {
        int(i): (box, flip) for b in drawn for i, box, flip in zip(b.id, b.crop.box, b.crop.flip, strict=True)
    }
    asked = []

    def replay(ids, epoch):
        asked.append((len(ids), epoch))
        boxes, flips = zip(*(record[int(number)] for number in ids), strict=True)
        return type(drawn[0].crop)(torch.stack(boxes), torch.stack(flips))

    # another seed and epoch, yet the very same views
    replayed = list(loader(split, seed=99, rank=1, world=2).epoch(5, positions(16), crops=replay))
    assert asked == [(8, 5), (8, 5)]  # the global batch
    for whole, part in zip(drawn, replayed, strict=True):
        assert torch.equal(whole.x["pixel_values"][4:], part.x["pixel_values"])


def test_evaluation_reads_all_rows_whole_and_in_order(split):
    batches = list(eval_batches(split, 8))
    assert [batch.size for batch in batches] == [8, 8, 8, 1]
    assert torch.cat([batch.id for batch in batches]).tolist() == split.rows.tolist()
    pixels = torch.cat([batch.x["pixel_values"] for batch in batches])
    assert torch.equal(pixels, torch.from_numpy(split.inputs[split.rows]).permute(0, 3, 1, 2).float() / 255)
    assert next(eval_batches(split, 8, (3, 4))).x["pixel_values"].shape == (8, 3, 3, 4)


@pytest.mark.parametrize("settings", [{"batch_size": 0}, {"rank": 2, "world": 2}, {"rank": -1}])
def test_impossible_settings_are_refused(split, settings):
    with pytest.raises(ValueError, match="expected"):
        loader(split, **settings)


def test_drawing_does_not_touch_the_global_generators(split):
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    list(loader(split).epoch(0, positions()))
    sample_crops(AUGMENT, 3, 5, 5, np.random.default_rng(0))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]
