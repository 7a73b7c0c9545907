"""Write stored images as PNG files: the raw inputs of golden cases and of measurements."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compactor_runtimes.errors import needs_extra
from compactor_runtimes.files import writing


def write_pngs(images: NDArray[np.uint8], folder: Path, *, prefix: str) -> list[Path]:
    """Write uint8 images [n, H, W, C] as `<folder>/<prefix><number>.png`, losslessly."""
    with needs_extra("train"):
        from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, image in enumerate(images):
        path = folder / f"{prefix}{number:03d}.png"
        with writing(path):
            Image.fromarray(image[:, :, 0] if image.shape[-1] == 1 else image).save(path)
        paths.append(path)
    return paths
