"""Images that occur more than once: in two splits, where they flatter the report, or under two labels."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from compactor.data.spec import SplitName

Rows = tuple[NDArray[np.uint64], NDArray[np.int64]]


def pixel_digests(images: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> NDArray[np.uint64]:
    """A number [N] for each image's pixels; equal ones are copies (64 bits tell 10^6 images apart)."""
    found = [hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in images]
    return np.frombuffer(b"".join(found), dtype="<u8").astype(np.uint64)


def copies_told(splits: Mapping[SplitName, Rows]) -> list[str]:
    """Sentences on copies across splits and labels.

    Args:
        splits: digests uint64 [n] and labels int64 [n] (below 0: none) of the rows of each split.
    """
    train, select, report = (splits[name] for name in ("train", "select", "report"))
    said = []
    for name, (digests, _), known, where in (
        ("select", select, train[0], "train"),
        ("report", report, np.concatenate([train[0], select[0]]), "train or select"),
    ):
        twice = int(np.isin(digests, known).sum())
        if twice:
            said.append(
                f"{twice:,} of {len(digests):,} {name} images are copies of images in {where}: they are no "
                "test of what was learnt"
            )
    digests, labels = (np.concatenate([rows[part] for rows in splits.values()]) for part in (0, 1))
    digests, labels = digests[labels >= 0], labels[labels >= 0]
    order = np.lexsort((labels, digests))
    image, label = digests[order], labels[order]
    differ = (image[1:] == image[:-1]) & (label[1:] != label[:-1])
    many = len(np.unique(image[1:][differ]))
    if many:
        said.append(f"{many:,} images occur with two labels or more: no answer is right for all their copies")
    return said
