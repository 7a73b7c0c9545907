"""Views: drawn as boxes of whole pixels, replayed to the bit, and equal to torchvision's."""

import numpy as np
import pytest
import torch
from torchvision.transforms import functional

from compactor.data.augment import apply_crops, boxes_from_pixels, pixels_from_boxes, sample_crops
from compactor.data.spec import AugmentSpec
from compactor.records import Crops


def images(count, height, width, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, channels), dtype=np.uint8)


def crops(pixels, height, width, flip=False):
    box = boxes_from_pixels(np.array(pixels, dtype=np.int64), height, width)
    return Crops(box, torch.full((len(pixels),), flip))


def to_float(batch):
    return torch.from_numpy(batch).permute(0, 3, 1, 2).float() / 255


def draw(spec, n=4000, height=40, width=30, seed=0):
    views = sample_crops(spec, n, height, width, np.random.default_rng(seed))
    return pixels_from_boxes(views.box, height, width), views


@pytest.mark.parametrize("channels", [1, 3])
def test_whole_image_is_exactly_the_image_over_255(channels):
    batch = images(5, 7, 9, channels)
    assert torch.equal(apply_crops(batch, None, 7, 9), to_float(batch))
    drawn = sample_crops(AugmentSpec(), 5, 7, 9, np.random.default_rng(0))
    assert torch.equal(drawn.box, torch.tensor([[0.0, 0, 1, 1]] * 5))
    assert torch.equal(apply_crops(batch, drawn, 7, 9), to_float(batch))


def test_flip_mirrors_after_the_cut():
    batch = np.arange(4, dtype=np.uint8).reshape(1, 1, 4, 1)
    # columns 1..3 of 0 1 2 3, and a zero beyond the edge: 1 2 3 0, mirrored 0 3 2 1
    view = apply_crops(batch, crops([[0, 1, 1, 4]], 1, 4, flip=True), 1, 4)
    assert (view * 255).flatten().tolist() == [0, 3, 2, 1]


def test_shifted_box_pads_with_zeros():
    batch = np.arange(1, 10, dtype=np.uint8).reshape(1, 3, 3, 1)
    view = (apply_crops(batch, crops([[-1, 2, 3, 3]], 3, 3), 3, 3) * 255)[0, 0]
    assert view.tolist() == [[0, 0, 0], [3, 0, 0], [6, 0, 0]]
    assert not apply_crops(batch, crops([[-50, 90, 3, 3]], 3, 3), 3, 3).any()


@pytest.mark.parametrize("sides", [(1, 4096), (4095, 4093), (224, 3001)])
def test_boxes_come_back_as_whole_pixels(sides):
    height, width = sides
    rng = np.random.default_rng(0)
    low, high = np.array([-height, -width, 1, 1]), np.array([2 * height, 2 * width, 2 * height, 2 * width])
    pixels = rng.integers(low, high + 1, size=(20_000, 4))
    box = boxes_from_pixels(pixels, height, width)
    assert box.dtype == torch.float32
    assert (pixels_from_boxes(box, height, width) == pixels).all()


def test_pad_draws_every_shift_equally_often():
    pixels, views = draw(AugmentSpec(crop="pad", padding=2, flip=True), n=25_000)
    assert set(map(tuple, pixels[:, 2:])) == {(40.0, 30.0)}
    for axis in (0, 1):
        values, counts = np.unique(pixels[:, axis], return_counts=True)
        assert values.tolist() == [-2, -1, 0, 1, 2]
        assert np.abs(counts / 5000 - 1).max() < 0.06  # 4 standard deviations of a binomial count
    assert abs(views.flip.float().mean().item() - 0.5) < 0.013


def test_random_parts_are_inside_and_of_the_stated_area_and_ratio():
    pixels, _ = draw(AugmentSpec(crop="random-resized", scale=(0.3, 0.6)))
    top, left, height, width = pixels.T
    assert (pixels == np.rint(pixels)).all()
    assert min(top.min(), left.min()) >= 0
    assert (top + height).max() == 40
    assert (left + width).max() == 30
    area, ratio = height * width / 1200, width / height
    # rounding to whole pixels moves area and ratio by a few per cent
    assert area.min() > 0.27
    assert area.max() < 0.64
    assert ratio.min() > 0.69
    assert ratio.max() < 1.44
    # uniform area (mean 0.45), log-uniform ratio (median 1)
    assert abs(area.mean() - 0.45) < 0.01
    assert abs(np.median(np.log(ratio))) < 0.03


def test_central_part_is_taken_when_no_try_fits():
    spec = AugmentSpec(crop="random-resized", scale=(1.0, 1.0), ratio=(1.0, 1.0))
    # a square of the full area fits into neither: the largest central square is taken
    assert set(map(tuple, draw(spec, n=50, height=10, width=30)[0])) == {(0.0, 10.0, 10.0, 10.0)}
    assert set(map(tuple, draw(spec, n=50, height=31, width=10)[0])) == {(10.0, 0.0, 10.0, 10.0)}


class Drawn:
    """A generator that gives known numbers: ratio, area, left, top."""

    def __init__(self, *rows):
        self.rows = np.array(rows, dtype=np.float64)

    def random(self, shape):
        assert shape == self.rows.shape
        return self.rows


UNIFORM = {"crop": "random-resized", "aspect": "uniform"}


@pytest.mark.parametrize(
    ("settings", "height", "width", "drawn", "expected"),
    [
        # ratio .5 + .5 * 1 = 1; b = min(40/30, 30/40) = .75; area (.25 + .5 * .5) * 1200 = 600,
        # side sqrt(600) = 24.49 -> 24; left floor(.5 * 17) = 8, top floor(.25 * 7) = 1
        ({"scale": (0.25, 0.75), "ratio": (0.5, 1.5)}, 30, 40, (0.5, 0.5, 0.5, 0.25), (1, 8, 24, 24)),
        # ratio 4; b = min(40/(30*4), 30*4/40) = 1/3 clamps both ends of .5..1: area 400, 10 rows, 40 columns
        ({"scale": (0.5, 1.0), "ratio": (4.0, 4.0)}, 30, 40, (0.3, 0.9, 0.9, 0.5), (10, 0, 10, 40)),
        # ratio 1/4 of a square: b = 1/4, area 25 .. 25 of 100: 10 rows, 2.5 -> 2 columns; left floor(.99 * 9)
        ({"scale": (0.9, 1.0), "ratio": (0.25, 0.25)}, 10, 10, (0.0, 0.0, 0.99, 0.99), (0, 8, 10, 2)),
        # the largest square has all 31 columns, though float64 makes a little less than 31 of its root
        ({"scale": (1.0, 1.0), "ratio": (1.0, 1.0)}, 39, 31, (0.5, 0.5, 0.9, 0.5), (4, 0, 31, 31)),
        # whatever is drawn, a part has a pixel
        ({"scale": (0.01, 0.01), "ratio": (1.0, 1.0)}, 3, 3, (0.0, 0.0, 0.0, 0.99), (2, 0, 1, 1)),
    ],
)
def test_paddles_parts_by_hand(settings, height, width, drawn, expected):
    views = sample_crops(AugmentSpec(**UNIFORM, **settings), 1, height, width, Drawn(drawn))
    assert pixels_from_boxes(views.box, height, width).tolist() == [list(expected)]


def test_paddles_parts_have_a_uniform_ratio_and_a_uniform_area_below_what_fits():
    spec = AugmentSpec(**UNIFORM, scale=(0.2, 1.0), ratio=(0.5, 2.0))
    side = 4000  # so that whole pixels hardly matter
    top, left, height, width = draw(spec, n=20_000, height=side, width=side)[0].T
    assert min(top.min(), left.min()) >= 0
    assert max((top + height).max(), (left + width).max()) <= side
    ratio = width / height
    # share of ratios below 1: uniform (1 - .5) / 1.5 = 1/3, log-uniform would be 1/2; 4 standard deviations
    assert abs((ratio < 1).mean() - 1 / 3) < 0.0135
    # in a square a part of ratio r can have min(1 / r, r) of the area; its share is uniform from .2 to that
    bound = np.minimum(1 / ratio, ratio)
    place = (height * width / side**2 - 0.2) / (bound - 0.2)
    assert place.min() > -0.005
    assert place.max() < 1.005
    assert np.abs(np.histogram(place.clip(0, 0.9999), bins=4, range=(0, 1))[0] / 5000 - 1).max() < 0.05
    assert abs(np.corrcoef(place, ratio)[0, 1]) < 0.03
    # no central part is ever taken, as torchvision's rule does where nothing fits
    assert abs((top / np.maximum(side - height, 1)).mean() - 0.5) < 0.02


@pytest.mark.parametrize("crop", ["none", "pad", "random-resized", "uniform"])
def test_same_generator_draws_the_same_views_and_replay_is_exact(crop):
    spec = AugmentSpec(**(UNIFORM if crop == "uniform" else {"crop": crop}), flip=True)
    batch = images(16, 12, 12)
    first, second = (sample_crops(spec, 16, 12, 12, np.random.default_rng(5)) for _ in range(2))
    assert torch.equal(first.box, second.box)
    assert torch.equal(first.flip, second.flip)
    view = apply_crops(batch, first, 12, 12)
    assert torch.equal(view, apply_crops(batch, second, 12, 12))
    # and independent of the rest of the batch
    alone = [
        apply_crops(batch[i : i + 1], Crops(first.box[i : i + 1], first.flip[i : i + 1]), 12, 12)
        for i in range(16)
    ]
    assert torch.equal(view, torch.cat(alone))


def test_boxes_agree_with_torchvision():
    height, width = 37, 53
    views = sample_crops(
        AugmentSpec(crop="random-resized", flip=True), 40, height, width, np.random.default_rng(1)
    )
    batch = images(40, height, width)
    got = apply_crops(batch, views, 24, 20)
    for index, (top, left, cut_height, cut_width) in enumerate(
        pixels_from_boxes(views.box, height, width).astype(int)
    ):
        expected = functional.resized_crop(
            to_float(batch[index : index + 1]), top, left, cut_height, cut_width, [24, 20], antialias=False
        )
        if views.flip[index]:
            expected = expected.flip(-1)
        assert (got[index] - expected[0]).abs().max() < 1e-4


def test_resampling_outside_the_image_mixes_with_zeros():
    # a box of 4 columns, two of them outside, halved: between 8 and 4 -> 6, between 0 and 0 -> 0
    batch = np.array([8, 4], dtype=np.uint8).reshape(1, 1, 2, 1)
    view = apply_crops(batch, crops([[0, 0, 1, 4]], 1, 2), 1, 2)
    assert (view * 255).flatten().tolist() == pytest.approx([6, 0])


def test_empty_batch_has_the_right_shape():
    assert apply_crops(images(0, 8, 8), None, 4, 5).shape == (0, 3, 4, 5)
