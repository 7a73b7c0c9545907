"""Correlate an image's pixels with those of its candidates, over crops, small shifts and mirrored.

1. Images are shrunk, blurred, and freed of low frequencies (views.py), so that encoding, size, brightness
   and contrast do not count, nor that two pictures are both bright above.
2. Alignments: the image as a crop of the candidate, the candidate as a crop of the image, and shifts
   (opposite crops of both), each of the image as it is and mirrored.
3. Only candidates that correlate best with crops of the image are aligned the other ways too: all are costly.
4. Images of fewer pixels than are compared are alike in some crop often: they are compared whole.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from compactor.pool.views import BOXES, SCALES, SIDE, Floats, Images, pixel_views

Ids = NDArray[np.int64]

ALIGNED = 6
"""Candidates of an image that are aligned in every way (rule 3)."""
BLOCK = 64
# opposite crops of the largest scale are shifts: up against down, left against right
SHIFTS = [(1 + place, 9 - place) for place in range(9) if place != 4]


class PixelScores:
    """Of each image and candidate: the best correlation, and the alignment that reached it."""

    def __init__(self, shape: tuple[int, int]) -> None:
        """Begin with nothing compared (correlation -1)."""
        self.scores = np.full(shape, -1.0, np.float32)
        self._alignments = np.zeros(shape, np.int64)

    def update(self, row: int, columns: Ids, scores: Floats) -> None:
        """Take scores [candidates, mirrored or not, alignments] of one image."""
        flat = scores.reshape(len(columns), -1)
        best = flat.argmax(1)
        # rounded: a sum's last digits may depend on what is multiplied beside it
        self.scores[row, columns] = np.round(flat[np.arange(len(columns)), best], 4)
        self._alignments[row, columns] = best

    def transform(self, row: int, column: int) -> str:
        """Say how the image comes from the candidate."""
        flip, alignment = divmod(int(self._alignments[row, column]), 2 * len(BOXES) + len(SHIFTS))
        said = ["flip"] if flip else []
        if alignment >= 2 * len(BOXES):
            said.append("shift")
        elif box := alignment % len(BOXES):
            whose = "reference crop" if alignment < len(BOXES) else "crop"
            said.append(f"{whose} {SCALES[(box - 1) // 9]:.2f}")
        return " ".join(said) or "identity"


def is_tiny(images: Images) -> bool:
    """Tell whether images [n, H, W, C] have fewer pixels than are compared (rule 4)."""
    return bool(min(images.shape[1:3]) < SIDE)


def compare_pixels(
    images: Images, candidates: Ids, fetch: Callable[[Ids], Images], *, least_contrast: float
) -> PixelScores:
    """Compare each image with its candidates.

    Args:
        images: [n, H, W, C].
        candidates: rows of the others [n, K], -1 where there are fewer.
        fetch: the others' images by rows.
        least_contrast: images that vary less, in grey levels, are compared with none.
    """
    found = PixelScores(candidates.shape)
    for start in range(0, len(images), BLOCK):
        part = slice(start, start + BLOCK)
        _compare_block(images[part], candidates[part], fetch, least_contrast, found, start)
    return found


def _compare_block(
    images: Images,
    candidates: Ids,
    fetch: Callable[[Ids], Images],
    least_contrast: float,
    found: PixelScores,
    start: int,
) -> None:
    wanted = np.unique(candidates[candidates >= 0])
    rows = np.flatnonzero((candidates >= 0).any(1))
    if not len(rows):
        return
    plain = pixel_views(images[rows])
    flipped = plain.mirrored()
    whole = pixel_views(fetch(wanted), boxes=1)
    varies = whole.contrast >= least_contrast
    chosen: list[tuple[int, Floats, Ids, Floats]] = []
    for at, row in enumerate(rows):
        if plain.contrast[at] < least_contrast:
            continue
        places = np.searchsorted(wanted, candidates[row])
        columns = np.flatnonzero(candidates[row] >= 0)
        columns = columns[varies[places[columns]]]
        both = np.stack([plain.vectors[at], flipped[at]])
        crops = np.einsum("mbd,kd->kmb", both, whole.vectors[places[columns], 0], optimize=True)
        score = np.round(crops.max((1, 2)), 4)
        best = np.lexsort((candidates[row, columns], -score))[:ALIGNED]
        chosen.append((at, both, columns[best], crops[best]))
    kept = np.unique(np.concatenate([candidates[rows[at], columns] for at, _, columns, _ in chosen] or [[]]))
    if not len(kept):
        return
    others = pixel_views(fetch(kept.astype(np.int64)))
    for at, both, columns, crops in chosen:
        theirs = others.vectors[np.searchsorted(kept, candidates[rows[at], columns])]
        scores = np.concatenate([crops, _aligned(both, theirs)], 2)
        if is_tiny(images):
            scores[:, :, 1:] = -1
        found.update(start + int(rows[at]), columns, scores)


def _aligned(both: Floats, theirs: Floats) -> Floats:
    """Correlate one image [2, boxes, D] with crops of others [k, boxes, D] and with shifted ones.

    Returns:
        [k, 2, boxes + shifts].
    """
    crops = np.matmul(theirs, both[:, 0].T).transpose(0, 2, 1)
    ours, opposite = np.array(SHIFTS).T
    shifts = np.einsum("msd,ksd->kms", both[:, ours], theirs[:, opposite])
    return np.concatenate([crops, shifts], 2)
