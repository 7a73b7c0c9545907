"""Reading image files: formats, modes, orientation, and what is refused with which words."""

import io
import warnings

import numpy as np
import pytest
from PIL import Image

from compactor_runtimes.errors import UsageError
from compactor_runtimes.predict.decode import count_frames, decode_image, upright_size
from compactor_runtimes.predict.image_formats import FORMATS

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


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_read_whatever_its_name_says(kind, tmp_path):
    flat = np.full((5, 7, 3), 120, np.uint8)
    path = tmp_path / "named.png"
    path.write_bytes(encoded(flat, kind))
    assert np.abs(decode_image(path, "RGB").astype(int) - 120).max() <= 2  # JPEG and WebP lose a little
    assert upright_size(path) == (5, 7)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is empty"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no known format"),  # would start Ghostscript
        (encoded(PIXELS, "ICO"), "no known format"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no known format"),
    ],
)
@pytest.mark.parametrize("look", [lambda raw: decode_image(raw, "RGB"), upright_size])
def test_what_is_no_image_is_refused_with_the_reason(content, why, look, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    for raw, shown in ((content, "the given bytes"), (path, r"a\.png")):
        with pytest.raises(UsageError, match=rf"{shown}: cannot be read as an image \(.*{why}"):
            look(raw)


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_deep_grey_images_are_refused_from_their_header_on(mode, tmp_path):
    path = tmp_path / "deep.tiff"
    Image.new(mode, (3, 2)).save(path)
    for look in (upright_size, lambda raw: decode_image(raw, "L")):
        with pytest.raises(
            UsageError, match=r"deep.tiff: .*expected 8 bits a channel\); scale its values to"
        ):
            look(path)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_sizes_are_those_of_the_upright_image(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    raw = encoded(PIXELS, kind, exif=exif)
    assert upright_size(raw) == decode_image(raw, "RGB").shape[:2]
    assert upright_size(raw) == ((3, 2) if orientation >= 5 else (2, 3))


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG"])
def test_the_first_image_of_several_is_read_and_they_are_counted(kind):
    frames = [Image.new("RGB", (4, 4), (value, value, value)) for value in (200, 100, 0)]
    raw = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    assert count_frames(raw) == 3
    assert np.abs(decode_image(raw, "L").astype(int) - 200).max() <= 2
    assert count_frames(encoded(PIXELS, kind)) == 1


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"])
@pytest.mark.parametrize("wanted", ["L", "RGB"])
def test_every_mode_of_8_bits_becomes_the_wanted_one(mode, wanted):
    image = Image.new("RGB", (4, 4), (255, 255, 255)).convert("L").convert(mode)
    kind = {"CMYK": "TIFF", "YCbCr": "TIFF", "PA": "PNG"}.get(mode, "PNG")
    raw = image if mode == "PA" else encoded(image, kind)
    assert np.array_equal(decode_image(raw, wanted), np.full((4, 4, len(wanted)), 255))
