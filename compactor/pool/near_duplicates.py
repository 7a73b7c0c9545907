"""Find images that are copies of others."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compactor.data.copies import pixel_digests


@dataclass(frozen=True)
class Match:
    """What an image is a copy of: the place of a reference, and which check says so."""

    reference: int
    check: str
    transform: str
    score: float
    similarity: float


class NearDuplicates:
    """Compares images with references."""

    def __init__(self, references: Any) -> None:
        """Learn the references."""
        self.known: dict[int, int] = {}
        for index in range(len(references)):
            digest = int(pixel_digests([np.asarray(references[index])])[0])
            self.known.setdefault(digest, index)

    def match(self, images: NDArray[np.uint8], features: NDArray[np.float32]) -> list[Match | None]:
        """The match of each image."""
        places = [self.known.get(int(one)) for one in pixel_digests(images)]
        return [None if place is None else Match(place, "pixels", "none", 1.0, 1.0) for place in places]


def within(images: Any, features: Any) -> Sequence[Match | None]:
    """Of several copies all but the first."""
    known: dict[int, int] = {}
    found: list[Match | None] = []
    for index in range(len(images)):
        first = known.setdefault(int(pixel_digests([images[index]])[0]), index)
        found.append(None if first == index else Match(first, "pixels", "none", 1.0, 1.0))
    return found
