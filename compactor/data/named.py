"""The named data sets, one function each; their table is in `datasets.py`."""

import hashlib
import io

import msgspec
import numpy as np
from numpy.typing import NDArray

from compactor.data.cache import Opening, Stored, decode_steps
from compactor.data.copies import pixel_digests
from compactor.data.datasets import open_files
from compactor.data.few_rows import handful
from compactor.data.find_files import locate_published
from compactor.data.sklearn_files import digits
from compactor.data.spec import DataSpec
from compactor.data.splits import Dataset, build_dataset
from compactor_runtimes.errors import needs_extra
from compactor_runtimes.predict.images import to_uint8

HIGHEST_VALUE = 16  # of the pixels of scikit-learn's digits
DIGITS_SELECT_ROWS = 270  # 15%


def load_cifar10(spec: DataSpec, opening: Opening) -> Dataset:
    """Open CIFAR-10 from `$COMPACTOR_DATA/cifar10`: 50,000 train and 10,000 report images of 32 x 32 pixels.

    Select is 5,000 rows of train (500 a class) unless `spec.select` says otherwise.

    Raises:
        UsageError: the files are missing or damaged.
    """
    train, report = locate_published("cifar10", ["train.parquet", "test.parquet"])
    return open_files({"train": [train], "report": [report]}, spec, opening)


def load_imagenette96(spec: DataSpec, opening: Opening) -> Dataset:
    """Open Imagenette (10 ImageNet classes, 96 x 96) from `$COMPACTOR_DATA/imagenette96`.

    Validation is report. Labels are 0..9 in the order of the WordNet ids, as in ImageNet.

    Raises:
        UsageError: the files are missing or damaged.
    """
    train, report = locate_published("imagenette96", ["train.parquet", "validation.parquet"])
    named = msgspec.structs.replace(spec, label_column="wnid")
    return open_files({"train": [train], "report": [report]}, named, opening)


def load_digits(spec: DataSpec, opening: Opening) -> Dataset:
    """Open scikit-learn's 1,797 grey digits of 8 x 8 pixels, without download and cache.

    Ids are scikit-learn's row numbers. Nothing is published: report is 20%, select 15%.

    Raises:
        MissingDependency: scikit-learn is not installed.
        UnfitEnvironmentError: it does not bring them.
    """
    values, labels = digits()
    images = np.round(values * (255 / HIGHEST_VALUE)).astype(np.uint8)[..., None]
    if spec.image_size is not None or spec.color == "rgb":
        images = _decoded(images, spec)
    if opening.at_most is not None:
        rows = handful(labels, opening.at_most)
        images, labels = images[rows], labels[rows]
    digest = hashlib.sha256(
        f"digits 1 {images.shape}\n".encode() + images.tobytes() + labels.astype("<i8").tobytes()
    )
    names = [str(digit) for digit in range(10)]
    stored = Stored(images, labels, names, digest.hexdigest(), digests=pixel_digests(images))
    return build_dataset(
        spec,
        {"train": stored},
        seed=opening.seed,
        default_select=DIGITS_SELECT_ROWS,
        thinned=opening.at_most is not None,
    )


def _decoded(images: NDArray[np.uint8], spec: DataSpec) -> NDArray[np.uint8]:
    """Send the images as PNG through the same decoding as files, for another size or colour."""
    with needs_extra("train"):
        from PIL import Image

    # Here an absent colour means grey, for files it means rgb.
    steps = decode_steps(DataSpec(dataset="digits", color=spec.color or "grey", image_size=spec.image_size))
    decoded = []
    for image in images:
        png = io.BytesIO()
        Image.fromarray(image[..., 0]).save(png, format="PNG")
        decoded.append(to_uint8(png.getvalue(), steps))
    return np.stack(decoded)
