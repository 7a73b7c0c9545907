"""What one input may ask for: bytes, pixels, characters, items and time, and how much memory it may take."""

import io
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from compactor_runtimes import InputError, Limits, UsageError, load
from compactor_runtimes.bundle.manifest import CenterCrop, Cover, DecodeImage, Resize
from compactor_runtimes.predict.images import to_uint8
from compactor_runtimes.predict.limits import OF_DATA, content_of, limits_from, with_formats
from compactor_runtimes.predict.text import TextPipeline
from tests.runtimes.text_bundles import PRE, write_text_bundle, write_tokenizer


def png(width, height, rows=None, colour=2):
    """A PNG of RGB rows; of a header that promises more than the file holds, with other `rows`."""
    held = zlib.compress((b"\0" + b"\x64" * 3 * width) * height, 1) if rows is None else rows

    def chunk(name, content):
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", held) + chunk(b"IEND", b"")


def encoded(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    "raw",
    [
        lambda path: path,
        str,
        lambda path: path.read_bytes(),
        lambda path: bytearray(path.read_bytes()),
        lambda path: memoryview(path.read_bytes()),
        lambda path: io.BytesIO(path.read_bytes()),
    ],
)
def test_content_is_the_same_from_everywhere_and_bounded(tmp_path, raw):
    path = tmp_path / "seven"
    path.write_bytes(b"sevenby")
    assert content_of(raw(path), 7, "it") == b"sevenby"
    with pytest.raises(UsageError, match="it: [67,]+ bytes found, at most 6 expected"):
        content_of(raw(path), 6, "it")


def test_what_is_no_file_is_never_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, "/dev/zero"):
        with pytest.raises(UsageError, match=r"cannot be read \(it is no file\)"):
            content_of(path, 100, "it")
    with pytest.raises(UsageError, match="its read\\(\\) gives str; open it in mode 'rb'"):
        content_of(io.StringIO("text"), 100, "it")


def test_an_applications_own_alarm_passes_through(bundle, tmp_path):
    class Late(io.RawIOBase):
        def read(self, size=-1):
            raise TimeoutError("mine")

    with load(bundle.path, threads=1) as model, pytest.raises(TimeoutError, match="mine"):
        model.predict(Late())
    texts = write_text_bundle(tmp_path / "texts")
    with load(texts.path, threads=1) as model, pytest.raises(TimeoutError, match="mine"):
        model.predict(Late())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"pixels": 0}, "limits.pixels: got 0, expected a whole number"),
        ({"bytes": 1.5}, "limits.bytes: got 1.5"),
        ({"items": True}, "limits.items: got True"),
        ({"seconds": -1}, "limits.seconds: got -1, expected more than 0"),
        ({"seconds": float("nan")}, "limits.seconds: got nan"),
        ({"formats": ("EPS",)}, r"limits.formats: got \['EPS'\], expected some of PNG"),
        ({"formats": ()}, "limits.formats: got none"),
    ],
)
def test_limits_that_are_none_are_refused(settings, words):
    with pytest.raises(UsageError, match=words):
        Limits(**settings)


def test_limits_of_a_command_line():
    assert limits_from(["pixels=12", "seconds=0.5"]) == Limits(pixels=12, seconds=0.5)
    assert limits_from([]) == Limits()
    with pytest.raises(UsageError, match="did you mean 'pixels'"):
        limits_from(["pixel=12"])
    with pytest.raises(UsageError, match="expected bytes=NUMBER"):
        limits_from(["bytes=many"])


def test_other_formats_are_read_where_they_are_asked_for(bundle):
    blue = Image.new("RGB", (4, 4), (0, 0, 51))
    raw = encoded(blue, "BMP")
    with load(bundle.path, threads=1) as model:
        with pytest.raises(
            UsageError, match=r"it is BMP, which is read where it is asked for: formats=\['BMP'\]"
        ):
            model.predict(raw)
        for kind in ("PNG", "WEBP"):
            assert model.predict(encoded(blue, kind, **({"lossless": True} if kind == "WEBP" else {}))).label
    with load(bundle.path, threads=1, formats=["bmp", "GIF"]) as model:
        assert model.predict(raw).label == "blue"
        assert model.limits.formats == ("PNG", "JPEG", "WEBP", "BMP", "GIF")
    with pytest.raises(UsageError, match="expected some of"):
        with_formats(Limits(), ["EPS"])


STEPS = [DecodeImage(), Resize(size=224), CenterCrop(height=224, width=224)]


@pytest.mark.parametrize("size", [(3000, 1), (1, 3000), (60_000, 1), (1, 65_536), (65_536, 200)])
@pytest.mark.parametrize(
    "steps", [STEPS, [DecodeImage(), Cover(height=224, width=200), CenterCrop(height=224, width=200)]]
)
def test_of_a_narrow_image_the_crop_alone_is_made(size, steps):
    width, height = size
    found = to_uint8(png(width, height), steps, Limits())
    assert found.shape == (steps[2].height, steps[2].width, 3)
    assert (found == 0x64).all()


def test_the_crop_is_that_of_the_whole_resized_image_but_for_rounding(monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (90, 700, 3), dtype=np.uint8)
    for interpolation in ("bilinear", "bicubic"):
        steps = [DecodeImage(), Resize(size=48, interpolation=interpolation), CenterCrop(height=40, width=44)]
        whole = to_uint8(pixels, steps)
        with monkeypatch.context() as patch:
            patch.setattr("compactor_runtimes.predict.images.MOST_RESIZED", 100)
            alone = to_uint8(pixels, steps)
        assert np.abs(whole.astype(int) - alone).max() <= 1


def test_sizes_are_refused_from_the_header_on():
    limits = Limits(pixels=1000, side=200)
    for width, height in ((40, 26), (201, 1), (2**31 - 1, 2**31 - 1)):
        with pytest.raises(UsageError, match="too large an image to be safe"):
            to_uint8(png(width, height, rows=b""), STEPS, limits)
    for raw in (Image.new("L", (40, 26)).convert("RGB"), np.zeros((26, 40, 3), np.uint8)):
        with pytest.raises(UsageError, match=r"26 x 40 pixels found, at most 1,000 expected and 200 a side"):
            to_uint8(raw, STEPS, limits)
    with pytest.raises(UsageError, match="0 x 5 pixels found, at least one expected"):
        to_uint8(Image.new("RGB", (5, 0)), STEPS, limits)
    assert to_uint8(png(40, 25), STEPS, limits).shape == (224, 224, 3)


def test_a_jpeg_of_very_many_scans_is_refused():
    content = encoded(Image.effect_noise((64, 64), 50), "JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    many = content[:last] + content[last:-2] * 200 + b"\xff\xd9"
    with pytest.raises(UsageError, match=r"a JPEG of 2\d\d scans, at most 100 expected"):
        to_uint8(many, STEPS, Limits())
    assert to_uint8(content, STEPS, Limits()).shape == (224, 224, 3)


LOOK = """
import resource, sys, time
from compactor_runtimes.bundle.manifest import CenterCrop, DecodeImage, Resize, ToFloat, ImagePre
from compactor_runtimes.predict.images import ImagePipeline
from compactor_runtimes.predict.limits import Limits
steps = [DecodeImage(), Resize(size=224), CenterCrop(height=224, width=224), ToFloat()]
pipeline = ImagePipeline(ImagePre(input="x", steps=steps), Limits())
pipeline([sys.argv[1]])
raw = open(sys.argv[2], "rb").read()
before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
pipeline([raw])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, time.process_time() - begin)
"""


def largest(kind):
    """The largest image of a format that the limits let through, in the costliest way to store it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    if kind == "WEBP":
        return encoded(
            Image.new("RGBA", (3741, 3741), (9, 9, 9, 9)), kind, lossless=True, method=0, exif=exif
        )
    if kind == "JPEG":
        return encoded(Image.new("CMYK", (3741, 3741)), kind, progressive=True, exif=exif)
    return encoded(Image.new("RGBA", (3741, 3741)), kind, compress_level=1, exif=exif)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_no_image_within_the_limits_takes_more_than_300_mb_or_4_seconds(tmp_path, kind):
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(png(300, 300))
    large.write_bytes(largest(kind))
    run = [sys.executable, "-c", LOOK, str(small), str(large)]
    grown, seconds = map(
        float, subprocess.run(run, check=True, capture_output=True, text=True).stdout.split()
    )
    assert grown * 1024 < 300e6
    assert seconds < 4


def test_a_photo_of_12_megapixels_is_answered():
    raw = encoded(Image.new("RGB", (4000, 3000), (9, 99, 200)), "JPEG")
    assert to_uint8(raw, STEPS, Limits()).shape == (224, 224, 3)


@pytest.fixture
def pipeline(tmp_path):
    write_tokenizer(tmp_path / PRE.tokenizer)
    return TextPipeline(PRE, tmp_path, Limits(characters=2000))


def test_of_a_long_text_as_much_is_read_as_fills_the_tokens(pipeline, tmp_path):
    whole = TextPipeline(PRE, tmp_path, OF_DATA)
    for text in (
        "turn on the light " * 1000,
        "turn\non " + "x" * 1500,
        "light" + " " * 1000 + "music off on the",
    ):
        (found,), (expected,) = pipeline.encode_tokens([text]), whole.encode_tokens([text])
        assert (found.ids.tolist(), found.truncated) == (expected.ids.tolist(), expected.truncated)
    (found,) = pipeline.encode_tokens(["music" + " " * 10_000 + "off"])
    assert (found.ids.tolist(), found.truncated) == (
        [2, 9, 3],
        True,
    )  # what follows was not looked at, and said


def test_a_word_is_not_cut_where_a_beginning_ends(pipeline):
    size = pipeline._enough
    text = "x " * (size // 2 - 2) + "music " * 9
    assert pipeline.encode_tokens([text])[0].ids.tolist() == [2, 1, 1, 1, 1, 3]
    filler = " " * (size - 3)
    (found,) = pipeline.encode_tokens([filler + "music off on"])  # "music" crosses the end of the beginning
    assert found.ids.tolist() == [2, 9, 6, 5, 3]
    assert found.truncated is False


@pytest.mark.slow
@pytest.mark.parametrize("part", ["turn on the light ", "a", " ", "é "])
def test_ten_megabytes_of_text_take_little(tmp_path, part):
    write_tokenizer(tmp_path / PRE.tokenizer)
    script = f"""
import resource, sys, time
from pathlib import Path
from compactor_runtimes.bundle.manifest import TextPre
from compactor_runtimes.predict.limits import Limits
from compactor_runtimes.predict.text import TextPipeline
pre = TextPre(tokenizer="{PRE.tokenizer}", max_tokens=256, pad_id=0)
pipeline = TextPipeline(pre, Path(sys.argv[1]), Limits())
pipeline(["turn on"])
text = {part!r} * (10_000_000 // len({part!r}.encode()))
before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
pipeline([text])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, time.process_time() - begin)
"""
    run = [sys.executable, "-c", script, str(tmp_path)]
    grown, seconds = map(
        float, subprocess.run(run, check=True, capture_output=True, text=True).stdout.split()
    )
    assert grown * 1024 < 200e6
    assert seconds < 2


def test_too_many_items_and_generators(bundle):
    blue = np.zeros((4, 4, 3), np.uint8)
    blue[:, :, 2] = 51
    with load(bundle.path, threads=1, limits=Limits(items=3)) as model:
        with pytest.raises(
            UsageError, match="inputs: 4 found, at most 3 expected in a call; give a generator"
        ):
            model.predict([blue] * 4)
        answers = model.predict(blue for _ in range(20))
        assert next(answers).label == "blue"
        assert [one.label for one in answers] == ["blue"] * 19


def test_errors_may_take_the_place_of_answers(bundle, tmp_path):
    blue = np.zeros((4, 4, 3), np.uint8)
    blue[:, :, 2] = 51
    with load(bundle.path, threads=1) as model:
        found = model.predict([blue, b"nothing", blue, np.zeros((5, 5, 3), np.uint8)] * 5, on_error="return")
        assert [getattr(one, "label", None) for one in found[:4]] == ["blue", None, "blue", None]
        assert [one.index for one in found if isinstance(one, InputError)] == [
            1,
            3,
            5,
            7,
            9,
            11,
            13,
            15,
            17,
            19,
        ]
        assert isinstance(model.predict(b"nothing", on_error="return"), InputError)
        with pytest.raises(InputError, match=r"input number 9 \(from 0\)"):
            model.predict([blue] * 9 + [b"nothing"])
        with pytest.raises(UsageError, match="on_error: got 'skip'"):
            model.predict(blue, on_error="skip")
    texts = write_text_bundle(tmp_path / "texts")
    with load(texts.path, threads=1) as model:
        found = model.predict(["on", "\ud800", 7, "off"], on_error="return")
        assert [getattr(one, "label", None) for one in found] == ["on", None, None, "off"]
