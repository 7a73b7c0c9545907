"""Images: other files among them, sizes, depths of colour, layouts of folders, copies, single bad files."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.input_cases.cases import Case, Refused
from benchmarks.input_cases.toys import SIDE, write_pictures

COUNT = 12  # pictures of a class


def opened(folder: Path, make: Callable[[Path], Any], **spec: Any) -> Any:
    """Make a data set and open it as a run does."""
    from compactor.data.datasets import open_dataset
    from compactor.data.spec import DataSpec

    place = make(folder / "set") or folder / "set"
    return open_dataset(DataSpec(dataset=str(place), **spec), base=folder, cache=folder / "cache")


def rows_and_notes(folder: Path, *, make: Callable[[Path], Any], says: str, **spec: Any) -> Any:
    """How many images are read, and whether what is special about them is said."""
    data = opened(folder, make, **spec)
    rows = sum(len(split) for split in (data.train, data.select, data.report))
    return rows, any(says in note for note in data.notes)


def surveyed(folder: Path, *, make: Callable[[Path], Any], says: str, **spec: Any) -> bool:
    """Whether `init` says it."""
    from compactor.data.spec import DataSpec
    from compactor.data.survey import survey

    place = make(folder / "set") or folder / "set"
    found = survey(DataSpec(dataset=str(place), **spec), base=folder, task="image-classification")
    return any(says in problem for problem in found.problems)


def answered(folder: Path, *, size: tuple[int, int], asked: tuple[int, int]) -> bool:
    """Whether the steps of a bundle for images of one size take an image of another."""
    import io

    from PIL import Image

    from compactor.data.cache import image_steps
    from compactor_runtimes.predict.images import to_uint8

    data = opened(folder, partial(write_pictures, size=size, count=COUNT))
    file = io.BytesIO()
    Image.new("RGB", asked, (9, 9, 9)).save(file, format="PNG")
    return to_uint8(file.getvalue(), image_steps(data.info)).shape == (size[1], size[0], 3)


def built(folder: Path, *, model: str, side: int) -> tuple[int, ...]:
    """The logits' shape of a model on images of a size."""
    import torch

    from benchmarks.input_cases.weights import FEW, information
    from compactor.models.build import build_model
    from compactor.recipe.spec import ModelSpec

    with torch.no_grad():
        found = build_model(ModelSpec(model=model), information(FEW, side), base=folder).eval()
        return tuple(found(**found.example(1))["label"].shape)


def predicted(folder: Path, *, options: list[str]) -> Any:
    """`compactor predict` on three files of which the second is none: exit code and answers."""
    from compactor.progress import SilentReporter
    from compactor.release.export_model import export_model
    from tests.command_line import compactor

    bundle = folder / "bundle"
    export_model("cifar:resnet8?width=4", bundle=bundle, random_weights=True, reporter=SilentReporter())
    write_pictures(folder, ("in",), 3)
    (folder / "in" / "001.png").write_bytes(b"no image")
    done = compactor("predict", str(bundle), str(folder / "in"), "--json", *options, cwd=folder)
    try:
        said = json.loads(done.stdout)
    except ValueError:
        said = []
    answers = said if isinstance(said, list) else []  # a refusal is no list
    return done.returncode, ["error" in one for one in answers]


# ---- what goes in


def _pictures(folder: Path, **how: Any) -> None:
    write_pictures(folder, count=COUNT, **how)


def _other_suffix(suffix: str) -> Callable[[Path], Any]:
    return partial(write_pictures, count=COUNT, suffix=suffix)


def _text_among(folder: Path) -> None:
    _pictures(folder)
    (folder / "cat" / "readme.txt").write_text("x")
    (folder / "cat" / "clip.mp4").write_bytes(b"x")


def _nested(folder: Path) -> None:
    _pictures(folder)
    (folder / "cat" / "more").mkdir()
    for number in range(6):
        (folder / "cat" / f"{number:03d}.png").rename(folder / "cat" / "more" / f"{number:03d}.png")


def _sized(folder: Path) -> None:
    _pictures(folder)
    write_pictures(folder, ("emu",), COUNT, size=(SIDE * 2, SIDE))


def _bad_one(folder: Path) -> None:
    _pictures(folder)
    (folder / "cat" / "003.png").write_bytes(b"")


def _sixteen_bits(folder: Path) -> None:
    import numpy as np
    from PIL import Image

    _pictures(folder)
    Image.fromarray(np.full((SIDE, SIDE), 40_000, np.uint16)).save(folder / "cat" / "000.png")


def _huge(folder: Path) -> None:
    from PIL import Image

    _pictures(folder)
    Image.new("1", (20_000, 10_000)).save(folder / "dog" / "zz.png")


def _copied(folder: Path) -> None:
    _pictures(folder / "train")
    _pictures(folder / "test")


def _two_labels(folder: Path) -> None:
    _pictures(folder)
    shutil.copy(folder / "cat" / "000.png", folder / "dog" / "x.png")


def _capital_splits(folder: Path) -> None:
    _pictures(folder / "Train")
    write_pictures(folder / "Val", count=5, size=(SIDE, SIDE))


def _too_high(folder: Path) -> None:
    _pictures(folder / "animals" / "train")


def _beside_classes(folder: Path) -> None:
    _pictures(folder / "train")
    (folder / "extra").mkdir()
    shutil.copy(folder / "train" / "cat" / "000.png", folder / "extra" / "0.png")


def _table(folder: Path, name: str = "{number:03d}.png") -> Path:
    write_pictures(folder, ("all",), COUNT)
    rows = [f'{{"image": "all/{number:03d}.png", "label": "{"ab"[number % 2]}"}}' for number in range(COUNT)]
    (folder / "list.jsonl").write_text("\n".join(rows))
    return folder / "list.jsonl"


def _linked_table(folder: Path) -> Path:
    path = _table(folder)
    outside = folder.parent / "outside.png"
    shutil.move(folder / "all" / "000.png", outside)
    (folder / "all" / "000.png").symlink_to(outside)
    return path


def _leaving_table(folder: Path) -> Path:
    path = _table(folder)
    path.write_text(path.read_text().replace("all/000.png", "../outside.png"))
    return path


def _linked_folder(folder: Path) -> None:
    _pictures(folder.parent / "elsewhere")
    folder.symlink_to(folder.parent / "elsewhere")


def _grey_and_alpha(folder: Path) -> None:
    from PIL import Image

    _pictures(folder)
    for number, mode in enumerate(("L", "P", "RGBA", "CMYK", "1")):
        suffix = "tif" if mode == "CMYK" else "png"
        Image.new("RGB", (SIDE, SIDE), (90, 90, 90)).convert(mode).save(
            folder / "cat" / f"x{number}.{suffix}"
        )


def _case(
    goes_in: str, wanted: Any, act: Callable[..., Any] = rows_and_notes, *, keeps: bool = False, **given: Any
) -> Case:
    return Case("images", goes_in, wanted, partial(act, **given), keeps)


ALL = 2 * COUNT
CASES = [
    *(
        _case(f"class folders of .{suffix}", (ALL, False), make=_other_suffix(suffix), says="left out")
        for suffix in ("tif", "tiff", "gif", "jfif", "jpg", "webp", "bmp", "PNG")
    ),
    _case("a text and a film among the images", (ALL, True), make=_text_among, says="2"),
    _case("half of a class in a sub-folder", (ALL, True), make=_nested, says="6"),
    _case("images of two sizes", Refused("expected one size; set data.image_size"), make=_sized, says=""),
    _case("one empty file among the images", Refused(r"003\.png"), make=_bad_one, says=""),
    _case("a 16-bit image", Refused(r"000\.png.*16"), make=_sixteen_bits, says=""),
    _case("init: a 16-bit image", True, surveyed, make=_sixteen_bits, says="16"),
    _case("init: an image of 200 Mpixel", True, surveyed, make=_huge, says="zz.png"),
    _case("report images that are in train too", (4 * COUNT, True), make=_copied, says="report"),
    _case("one image under two labels", (ALL + 1, True), make=_two_labels, says="label"),
    _case("folders Train and Val", (ALL + 10, False), make=_capital_splits, says="left out"),
    _case("a folder one level too high", Refused("animals"), make=_too_high, says=""),
    _case(
        "a folder beside train that names no split", Refused("names no split"), make=_beside_classes, says=""
    ),
    _case(
        "a table with a path out of its folder", Refused("leaves the folder"), make=_leaving_table, says=""
    ),
    _case("48 x 32 images, asked about 640 x 480", True, answered, size=(48, 32), asked=(640, 480)),
    _case("48 x 32 images, asked about 300 x 900", True, answered, size=(48, 32), asked=(300, 900)),
    _case(
        "a vision transformer of 224 pixels for images of 32",
        (1, 3),
        built,
        model="timm:vit_tiny_patch16_224",
        side=32,
    ),
    _case("predict: one bad file of three", (2, []), predicted, options=[]),
    _case(
        "predict --skip-bad: one bad file of three",
        (2, [False, True, False]),
        predicted,
        options=["--skip-bad"],
    ),
    # what must go on working
    _case(
        "square images, asked about their own size", True, answered, keeps=True, size=(16, 16), asked=(16, 16)
    ),
    _case(
        "a link to an image in a table's folder",
        (COUNT, False),
        keeps=True,
        make=_linked_table,
        says="left out",
    ),
    _case("a link to the folder of images", (ALL, False), keeps=True, make=_linked_folder, says="left out"),
    _case(
        "grey, palette, alpha, CMYK and black and white images",
        (ALL + 5, False),
        keeps=True,
        make=_grey_and_alpha,
        says="left out",
    ),
    _case(
        "images of two sizes with image_size",
        (3 * COUNT, False),
        keeps=True,
        make=_sized,
        says="left out",
        image_size=SIDE,
    ),
]
