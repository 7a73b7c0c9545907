import io
import warnings

import numpy as np
import pytest
from PIL import Image

from compactor_runtimes.bundle.manifest import CenterCrop, DecodeImage, ImagePre, Resize, ToFloat
from compactor_runtimes.errors import UsageError
from compactor_runtimes.predict.images import ImagePipeline, decode_image, to_uint8

# 2 x 3 pixels, RGB, every value different
PIXELS = np.arange(18, dtype=np.uint8).reshape(2, 3, 3) * 10
GREY = np.arange(24, dtype=np.uint8).reshape(4, 6)


def encoded(image, kind="PNG", **options):
    stream = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(stream, kind, **options)
    return stream.getvalue()


def test_every_kind_of_raw_image_gives_the_same_pixels(tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(encoded(PIXELS))
    for raw in (path, str(path), path.read_bytes(), Image.fromarray(PIXELS), PIXELS):
        found = decode_image(raw, "RGB")
        assert found.dtype == np.uint8
        assert np.array_equal(found, PIXELS)


def test_grey_images_have_one_channel():
    for raw in (GREY, GREY[:, :, None], encoded(GREY), Image.fromarray(GREY)):
        assert np.array_equal(decode_image(raw, "L"), GREY[:, :, None])
    assert np.array_equal(decode_image(encoded(GREY), "RGB"), np.repeat(GREY[:, :, None], 3, axis=2))


def test_an_array_of_the_right_mode_is_not_copied():
    assert decode_image(PIXELS, "RGB") is PIXELS
    assert np.shares_memory(
        to_uint8(PIXELS, [DecodeImage(), CenterCrop(height=2, width=1), ToFloat()]), PIXELS
    )


def test_transparency_is_dropped_without_a_warning():
    rgba = np.dstack([PIXELS, np.full((2, 3), 7, np.uint8)])
    assert np.array_equal(decode_image(encoded(rgba), "RGB"), PIXELS)
    palette = Image.fromarray(PIXELS).quantize(6)
    palette.info["transparency"] = bytes([0, 128, 255, 255, 255, 255])
    assert np.array_equal(
        decode_image(encoded(palette), "RGB"), np.asarray(palette.convert("RGBA"))[:, :, :3]
    )


def test_exif_orientation_is_honoured():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to see it upright
    assert np.array_equal(decode_image(encoded(PIXELS, exif=exif), "RGB"), np.rot90(PIXELS, k=-1))
    given = Image.open(io.BytesIO(encoded(PIXELS, exif=exif)))
    assert decode_image(given, "RGB").shape == (3, 2, 3)
    assert given.size == (3, 2)  # the caller's image is left as it was


@pytest.mark.parametrize(
    ("raw", "mode", "message"),
    [
        (PIXELS.astype(np.float32), "RGB", r"got float32 of shape \(2, 3, 3\), expected uint8 \[H, W, 3\]"),
        (GREY, "RGB", r"got uint8 of shape \(4, 6\), expected uint8 \[H, W, 3\] for mode RGB"),
        (PIXELS, "L", r"expected uint8 \[H, W, 1\] or \[H, W\] for mode L"),
        (PIXELS[None], "RGB", r"a batch as \[B, H, W, 3\]"),
        (PIXELS[:0], "RGB", r"shape \(0, 3, 3\)"),
        (7, "RGB", "image: got int, expected a path"),
        (None, "L", "image: got NoneType, expected a path"),
        (b"not an image", "RGB", "the given bytes: cannot be read as an image"),
        (
            Image.fromarray(np.zeros((2, 2), np.uint16)),
            "L",
            r"the given PIL image: .*mode I;16, expected 8 bits",
        ),
        (Image.new("F", (2, 2)), "RGB", "mode F, expected 8 bits"),
    ],
)
def test_unfit_images_are_refused_with_found_and_expected(raw, mode, message):
    with pytest.raises(UsageError, match=message) as caught:
        decode_image(raw, mode)
    assert caught.value.exit_code == 2


def test_unreadable_files_are_named(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    for kind in ("png", "jpeg", "webp"):
        path = tmp_path / f"cut.{kind}"
        content = encoded(noise, kind)
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(UsageError, match=f"cut.{kind}: cannot be read as an image"):
            decode_image(path, "RGB")
    with pytest.raises(UsageError, match=r"none.png: cannot be read"):
        decode_image(tmp_path / "none.png", "RGB")
    with pytest.raises(UsageError, match=f"{tmp_path.name}: cannot be read"):
        decode_image(tmp_path, "RGB")


def test_a_damaged_byte_in_a_png_never_escapes_as_another_error(tmp_path):
    content = encoded(np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8))
    refused = 0
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        try:
            shape = decode_image(bytes(damaged), "RGB").shape
        except UsageError:
            refused += 1
        else:
            assert shape[2] == 3
    assert refused > 50  # the signature, header and data chunks


# of 7 pixels PIL warns (7 > 5) or fails (7 > 2 * 3)
@pytest.mark.parametrize("limit", [5, 3])
def test_oversized_images_are_refused_by_name(tmp_path, monkeypatch, limit):
    path = tmp_path / "bomb.png"
    path.write_bytes(encoded(np.zeros((1, 7, 3), np.uint8)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UsageError, match=r"bomb.png: too large an image to be safe"):
            decode_image(path, "RGB")


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
