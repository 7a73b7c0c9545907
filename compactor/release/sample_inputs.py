"""Real inputs for a model that comes without data: sentences of our own, and crops of two photographs.

They have no labels and stand for no task: they show that an artifact computes what the student computes, and
neither how accurate it is nor which ranges int8 should have.
"""

import hashlib
from importlib.resources import files

import numpy as np
import yaml
from numpy.typing import NDArray

from compactor.data.packed_texts import PackedTexts
from compactor.data.sklearn_files import photos
from compactor.data.splits import Split
from compactor.records import IGNORE, LABEL, DataInfo, ImageInfo
from compactor.tasks.texts import TextSplit
from compactor_runtimes.errors import needs_extra

CROPS_PER_PHOTO = 16
SMALLEST_SIDE = 0.4  # of a crop, as a share of the photograph's short side


def sample_split(info: DataInfo) -> Split:
    """Return the samples as an unlabelled select split, in the form that the model takes."""
    inputs = sentences() if info.text is not None else photo_crops(info)
    rows = np.arange(len(inputs), dtype=np.int64)
    head = info.heads[0]
    shape = (len(inputs), len(head.labels)) if head.activation == "sigmoid" else (len(inputs),)
    labels = {head.name if head.is_labelled else LABEL: np.full(shape, IGNORE, dtype=np.int64)}
    digest = hashlib.sha256(b"sample inputs 1\n")
    for one in inputs:
        digest.update(one.encode() + b"\n" if isinstance(one, str) else one.tobytes())
    if info.text is not None:
        return TextSplit("select", inputs, labels, rows, digest.hexdigest(), info.text)
    return Split("select", inputs, labels, rows, digest.hexdigest())


def sentences() -> PackedTexts:
    """The packaged sentences: questions, commands, reviews and prose of 1 to 20 words."""
    text = (files("compactor.release") / "sentences.yaml").read_text(encoding="utf-8")
    return PackedTexts.of(yaml.safe_load(text))


def photo_crops(info: DataInfo) -> NDArray[np.uint8]:
    """Square crops of scikit-learn's two photographs, every second one mirrored: uint8 [32, H, W, C]."""
    with needs_extra("train"):
        from PIL import Image
    image = info.image
    assert isinstance(image, ImageInfo)
    rng = np.random.default_rng(0)
    crops = []
    for photo in photos():
        height, width = photo.shape[:2]
        picture = Image.fromarray(photo).convert("L" if image.channels == 1 else "RGB")
        for number in range(CROPS_PER_PHOTO):
            side = round(min(height, width) * rng.uniform(SMALLEST_SIDE, 1))
            left, top = rng.integers(0, width - side + 1), rng.integers(0, height - side + 1)
            crop = picture.crop((int(left), int(top), int(left) + side, int(top) + side))
            crop = crop.resize((image.width, image.height), Image.Resampling.BILINEAR)
            values = np.asarray(crop, dtype=np.uint8).reshape(image.height, image.width, image.channels)
            crops.append(values[:, ::-1] if number % 2 else values)
    return np.ascontiguousarray(np.stack(crops))
