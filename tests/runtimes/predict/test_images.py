import io

import numpy as np
import pytest
from PIL import Image

from compactor_runtimes.bundle.manifest import CenterCrop, Cover, DecodeImage, ImagePre, Resize, ToFloat
from compactor_runtimes.errors import InputError, UsageError
from compactor_runtimes.predict.images import ImagePipeline, to_uint8

# 2 x 3 pixels, RGB, every value different
PIXELS = np.arange(18, dtype=np.uint8).reshape(2, 3, 3) * 10
GREY = np.arange(24, dtype=np.uint8).reshape(4, 6)


def encoded(image, kind="PNG", **options):
    stream = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(stream, kind, **options)
    return stream.getvalue()


def test_resize_keeps_the_aspect_and_rounds_the_long_side_down():
    # short side 4 -> 3: 6 * 3 / 4 = 4.5 -> 4
    assert to_uint8(GREY, [DecodeImage(mode="L"), Resize(size=3)]).shape == (3, 4, 1)
    assert to_uint8(GREY.T, [DecodeImage(mode="L"), Resize(size=3)]).shape == (4, 3, 1)
    assert to_uint8(PIXELS, [DecodeImage(), Resize(size=5, kind="exact")]).shape == (5, 5, 3)


def test_resize_is_pils_and_the_same_for_arrays_and_files():
    noise = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    for interpolation, kind in (
        ("bilinear", Image.Resampling.BILINEAR),
        ("bicubic", Image.Resampling.BICUBIC),
    ):
        steps = [DecodeImage(), Resize(size=6, interpolation=interpolation)]
        expected = np.asarray(Image.fromarray(noise).resize((6, 6), kind))
        assert np.array_equal(to_uint8(noise, steps), expected)
        assert np.array_equal(to_uint8(encoded(noise), steps), expected)
    # the filter weights sum to 1: what is constant stays so
    flat = np.full((4, 4), 200, np.uint8)
    assert np.array_equal(to_uint8(flat, [DecodeImage(mode="L"), Resize(size=2)]), np.full((2, 2, 1), 200))


def test_resize_to_the_same_size_changes_nothing():
    assert to_uint8(PIXELS, [DecodeImage(), Resize(size=2)]) is PIXELS


def test_an_array_is_cut_without_a_copy():
    steps = [DecodeImage(), CenterCrop(height=2, width=1), ToFloat()]
    assert np.shares_memory(to_uint8(PIXELS, steps), PIXELS)


@pytest.mark.parametrize(
    ("size", "cover", "expected"),
    [
        ((6, 4), (6, 4), (6, 4)),
        ((12, 8), (6, 4), (6, 4)),
        ((4, 6), (6, 4), (6, 9)),  # the height decides: 6 * 6 / 4
        ((60, 4), (6, 4), (60, 4)),
        ((61, 8), (6, 4), (30, 4)),  # the width decides: 61 * 4 / 8 = 30.5
        ((1, 1), (6, 4), (6, 6)),
        ((5, 3), (6, 4), (6, 4)),  # 5 * 4 / 3 = 6.7
    ],
)
def test_cover_gives_the_smallest_image_that_covers(size, cover, expected):
    height, width = cover
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    step = Cover(height=height, width=width)
    found = to_uint8(image, [DecodeImage(), step])
    assert found.shape[:2] == expected
    assert np.array_equal(to_uint8(encoded(image), [DecodeImage(), step]), found)
    cut = to_uint8(image, [DecodeImage(), step, CenterCrop(height=height, width=width)])
    assert cut.shape[:2] == cover
    if size == cover:
        assert np.array_equal(cut, image)


@pytest.mark.parametrize("step", [Resize(size=224), Cover(height=224, width=200)])
@pytest.mark.parametrize("size", [(1, 90_000), (90_000, 1)])
def test_a_strip_that_would_grow_without_bound_is_refused(tmp_path, step, size):
    path = tmp_path / "strip.png"
    path.write_bytes(encoded(np.zeros(size, np.uint8)))
    with pytest.raises(UsageError, match=rf"strip.png: {size[0]} x {size[1]} pixels would become .*at most"):
        to_uint8(path, [DecodeImage(), step])


def test_a_crop_that_does_not_fit_names_the_file_and_its_size(tmp_path):
    path = tmp_path / "wide.png"
    path.write_bytes(encoded(PIXELS))  # 2 x 3
    steps = [DecodeImage(), Resize(size=4), CenterCrop(height=5, width=4)]
    with pytest.raises(
        UsageError, match=r"wide.png: 2 x 3 pixels \(4 x 6 after resizing\) found, at least 5 x 4"
    ):
        to_uint8(path, steps)


def test_center_crop_splits_odd_margins_like_torchvision():
    # margins 4 - 1 = 3 -> round(1.5) = 2, 6 - 3 = 3 -> 2
    found = to_uint8(GREY, [DecodeImage(mode="L"), CenterCrop(height=1, width=3)])
    assert np.array_equal(found[:, :, 0], GREY[2:3, 2:5])
    # margins 4 - 3 = 1 -> round(0.5) = 0, 6 - 6 = 0
    found = to_uint8(GREY, [DecodeImage(mode="L"), CenterCrop(height=3, width=6)])
    assert np.array_equal(found[:, :, 0], GREY[0:3])
    with pytest.raises(UsageError, match="4 x 6 pixels found, at least 5 x 6 expected"):
        to_uint8(GREY, [DecodeImage(mode="L"), CenterCrop(height=5, width=6)])


def test_the_pipeline_gives_scaled_planes():
    found = ImagePipeline(ImagePre(input="x", steps=[DecodeImage(), ToFloat(scale=0.5)]))(
        [PIXELS, PIXELS[::-1]]
    )
    assert found.dtype == np.float32
    assert found.shape == (2, 3, 2, 3)
    assert found.flags.c_contiguous
    for image, planes in ((PIXELS, found[0]), (PIXELS[::-1], found[1])):
        for channel in range(3):
            assert np.array_equal(planes[channel], image[:, :, channel] / 2)


def test_the_pipeline_scales_to_the_unit_interval_by_default():
    found = ImagePipeline(ImagePre(input="x", steps=[DecodeImage(mode="L"), ToFloat()]))(
        [np.uint8([[0, 51, 255]])]
    )
    assert found.tolist() == [[[[0.0, np.float32(51) * np.float32(1 / 255), 1.0]]]]


def test_the_pipeline_refuses_mixed_sizes_and_nothing():
    pipeline = ImagePipeline(ImagePre(input="x", steps=[DecodeImage(), ToFloat()]))
    with pytest.raises(UsageError, match=r"number 0 has shape \(2, 3, 3\) and number 1 \(2, 2, 3\)"):
        pipeline([PIXELS, PIXELS[:, :2]])
    with pytest.raises(
        InputError, match=r"input number 1 \(from 0\): the given bytes: cannot be read"
    ) as caught:
        pipeline([PIXELS, b"none"])
    assert caught.value.index == 1
    with pytest.raises(UsageError, match="got none, expected at least one"):
        pipeline([])


@pytest.mark.parametrize(
    "steps",
    [
        [],
        [DecodeImage()],
        [ToFloat()],
        [Resize(size=2), ToFloat()],
        [DecodeImage(), ToFloat(), Resize(size=2)],
        [DecodeImage(), DecodeImage(), ToFloat()],
        [DecodeImage(), ToFloat(), ToFloat()],
    ],
)
def test_steps_in_another_order_are_refused(steps):
    with pytest.raises(UsageError, match="image steps of 'x': expected"):
        ImagePipeline(ImagePre(input="x", steps=steps))


def test_to_uint8_starts_with_decoding():
    with pytest.raises(UsageError, match="expected decode-image"):
        to_uint8(PIXELS, [Resize(size=2)])


def test_training_and_serving_share_one_path():
    pre = ImagePre(input="x", steps=[DecodeImage(), Resize(size=4), CenterCrop(height=3, width=3), ToFloat()])
    raw = encoded(np.random.default_rng(1).integers(0, 256, (7, 9, 3), dtype=np.uint8), "JPEG")
    pipeline = ImagePipeline(pre)
    cached = to_uint8(raw, pre.steps)
    assert np.array_equal(pipeline.to_uint8(raw), cached)
    assert np.array_equal(pipeline([raw])[0], cached.transpose(2, 0, 1) * np.float32(1 / 255))
