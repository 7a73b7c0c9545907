"""Files that scikit-learn brings, read without importing it: that would load scipy and pandas as well."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compactor_runtimes.errors import MissingDependency, UnfitEnvironmentError, needs_extra

SIDE = 8  # pixels of a digit
PHOTOS = ("china.jpg", "flower.jpg")


def digits() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The 1,797 grey digits, float64 [N, 8, 8] from 0 to 16, and what they show, int64 [N].

    Raises:
        MissingDependency: scikit-learn is not installed.
        UnfitEnvironmentError: it does not bring them.
    """
    rows = np.loadtxt(_file("data/digits.csv.gz"), delimiter=",", encoding="utf-8")
    return rows[:, :-1].reshape(-1, SIDE, SIDE), rows[:, -1].astype(np.int64)


def photos() -> list[NDArray[np.uint8]]:
    """The two sample photographs, uint8 [H, W, 3].

    Raises:
        MissingDependency: scikit-learn or pillow is not installed.
        UnfitEnvironmentError: scikit-learn does not bring them.
    """
    with needs_extra("train"):
        from PIL import Image
    found = []
    for name in PHOTOS:
        with Image.open(_file(f"images/{name}")) as picture:
            found.append(np.asarray(picture))
    return found


def _file(name: str) -> Path:
    with needs_extra("train"):
        spec = find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependency("sklearn", "train")
    file = Path(spec.submodule_search_locations[0]) / "datasets" / name
    if not file.is_file():
        raise UnfitEnvironmentError(
            f"scikit-learn: {file} not found, expected with the package; install scikit-learn again"
        )
    return file
