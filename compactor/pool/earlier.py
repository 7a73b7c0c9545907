"""Candidates of a pool's image among the earlier images of the same pool, and the verdicts on them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compactor.data.spec import NearDuplicateSettings
from compactor.pool.judge import Judge, Verdict
from compactor.pool.neighbours import nearest, unit_rows
from compactor.pool.views import Floats, Images, mirrored, thumbnails

Ids = NDArray[np.int64]


class EarlierImages:
    """A pool that is read block by block; `alive` tells the first image of each digest."""

    def __init__(
        self,
        images: Any,
        features: Any,
        small: NDArray[np.float16],
        alive: NDArray[np.bool_],
        settings: NearDuplicateSettings,
    ) -> None:
        """Take images uint8 [N, H, W, C], features [N, D], thumbnails [N, d] and who is alive [N]."""
        self._images, self._features, self._small = images, features, small
        self._alive, self._settings = alive, settings

    def verdicts(self, rows: Ids, judge: Judge) -> list[list[Verdict]]:
        """Judge consecutive rows against their earlier neighbours."""
        images, first = np.asarray(self._images[rows[0] : rows[-1] + 1]), int(rows[0])
        own, own_small = self._unit(first, first + len(rows)), thumbnails(images)
        size, settings = len(self._images), self._settings
        near, _ = nearest(own, self._unit, size, settings.neighbours, first=first, alive=self._alive)
        candidates = near
        for seen in (own_small, thumbnails(mirrored(images))) if settings.thumbnail_neighbours else ():
            alike, _ = nearest(
                seen,
                lambda a, b: np.asarray(self._small[a:b], np.float32),
                size,
                settings.thumbnail_neighbours,
                first=first,
                alive=self._alive,
            )
            candidates = merged(candidates, alike)
        candidates[~self._alive[rows]] = -1
        return self._judged(images, own, candidates, judge)

    def kept(
        self, row: int, passed: list[Verdict], copied: Mapping[int, int], judge: Judge
    ) -> Verdict | None:
        """Take the best verdict whose image is kept; of removed ones, what they copy is compared instead.

        Args:
            row: the image.
            passed: what it copies, the best first.
            copied: removed rows, and the kept row that each of them copies.
            judge: the checks.
        """
        for verdict in passed:
            if verdict.row not in copied:
                return verdict
        if not passed:
            return None
        candidates = np.array([sorted({copied[verdict.row] for verdict in passed})], np.int64)
        images, own = np.asarray(self._images[row : row + 1]), self._unit(row, row + 1)
        return next(iter(self._judged(images, own, candidates, judge)[0]), None)

    def cosine(self, row: int, other: int) -> float:
        """Cosine of the features of two rows."""
        return round(float((self._unit(row, row + 1) @ self._unit(other, other + 1).T)[0, 0]), 4)

    def _judged(self, images: Images, own: Floats, candidates: Ids, judge: Judge) -> list[list[Verdict]]:
        some = np.maximum(candidates, 0)
        rows, places = np.unique(some, return_inverse=True)
        places = places.reshape(some.shape)
        theirs = unit_rows(np.asarray(self._features[rows]))
        small = np.asarray(self._small[rows], np.float32)
        both = [
            np.einsum("nd,nkd->nk", thumbnails(seen), small[places]) for seen in (images, mirrored(images))
        ]
        return judge.judge(
            images,
            candidates,
            similarity=np.einsum("nd,nkd->nk", own, theirs[places]),
            thumbnails=np.maximum(*both),
            fetch=lambda rows: np.asarray(self._images[rows]),
        )

    def _unit(self, start: int, stop: int) -> Floats:
        return unit_rows(np.asarray(self._features[start:stop]))


def merged(one: Ids, other: Ids) -> Ids:
    """Candidates of both lists [n, ...], each once, in order; -1 where there are fewer."""
    rows = np.sort(np.concatenate([one, other], 1), 1)
    rows[:, 1:][rows[:, 1:] == rows[:, :-1]] = -1
    return rows
