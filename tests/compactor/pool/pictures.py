"""Made-up pictures: smooth blobs of colour with some texture, no two alike."""

import numpy as np
from numpy.typing import NDArray

from compactor.pool.views import central, thumbnails


def pictures(count: int, *, side: int = 32, channels: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    """Draw [count, side, side, channels]: random grids of 9x9 colours, read in between."""
    random = np.random.default_rng(seed)
    grid = random.uniform(20, 235, (count, 9, 9, channels))
    place = np.linspace(0, 8, side)
    low = np.minimum(place.astype(int), 7)
    part = place - low
    weights = np.zeros((side, 9))
    weights[np.arange(side), low], weights[np.arange(side), low + 1] = 1 - part, part
    return np.einsum("yi,xj,nijc->nyxc", weights, weights, grid).astype(np.uint8)


def embed(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Features [n, D] that know little: thumbnails."""
    return thumbnails(images)


def copies(images: NDArray[np.uint8]) -> dict[str, NDArray[np.uint8]]:
    """Copy images in the ways that must be found."""
    noise = np.random.default_rng(9).normal(0, 4, images.shape)
    levels = images.astype(np.float64)
    return {
        "exact": images.copy(),
        "flip": images[:, :, ::-1].copy(),
        "crop": central(images),
        "bright": np.clip(levels * 1.15 + 5, 0, 255).astype(np.uint8),
        "dark": (levels * 0.7).astype(np.uint8),
        "noise": np.clip(levels + noise, 0, 255).astype(np.uint8),
    }
