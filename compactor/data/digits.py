"""The embedded default: scikit-learn's 1,797 grey digits of 8 x 8 pixels, without download and cache."""

import hashlib
import io

import numpy as np
from numpy.typing import NDArray

from compactor.data.cache import Opening, Stored, decode_steps
from compactor.data.few_rows import handful
from compactor.data.spec import DataSpec
from compactor.data.splits import Dataset, build_dataset
from compactor_runtimes.errors import needs_extra
from compactor_runtimes.predict.images import to_uint8

HIGHEST_VALUE = 16  # of scikit-learn's pixels
SELECT_ROWS = 270  # 15%


def load(spec: DataSpec, opening: Opening) -> Dataset:
    """Open the digits; ids are scikit-learn's row numbers. Nothing is published: report is 20%, select 15%.

    Raises:
        MissingDependency: scikit-learn is not installed.
    """
    with needs_extra("train"):
        from sklearn.datasets import load_digits

    found = load_digits()
    images = np.round(found.images * (255 / HIGHEST_VALUE)).astype(np.uint8)[..., None]
    if spec.image_size is not None or spec.color == "rgb":
        images = _decoded(images, spec)
    labels = found.target.astype(np.int64)
    if opening.at_most is not None:
        rows = handful(labels, opening.at_most)
        images, labels = images[rows], labels[rows]
    digest = hashlib.sha256(
        f"digits 1 {images.shape}\n".encode() + images.tobytes() + labels.astype("<i8").tobytes()
    )
    stored = Stored(images, labels, [str(digit) for digit in range(10)], digest.hexdigest())
    return build_dataset(
        spec,
        {"train": stored},
        seed=opening.seed,
        default_select=SELECT_ROWS,
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
