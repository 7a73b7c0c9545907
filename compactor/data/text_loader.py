"""Batches of token ids; texts are encoded once, and a batch is padded to its longest text.

The encoding is the runtime's own (`compactor_runtimes.text`), so that a model is served the ids it was
trained on.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from compactor.data.loader import part_of
from compactor.data.splits import Split
from compactor.records import Batch, Crops, TextInfo
from compactor_runtimes.manifest import TextPre
from compactor_runtimes.text import TextPipeline, pad_texts

Encoded = dict[int, NDArray[np.int64]]


class TextLoader:
    """Training batches of one split for one of `world` processes; see ImageLoader."""

    def __init__(
        self, split: Split, text: TextInfo, *, batch_size: int, seed: int, rank: int = 0, world: int = 1
    ) -> None:
        """Encode the split's texts.

        Args:
            split: Where texts and labels come from.
            text: How texts are cut.
            batch_size: Samples of a global batch, over all processes.
            seed: Not used, as nothing about a text is random yet; the order of visits is the sampler's.
            rank: Number of this process, 0..world-1.
            world: Number of processes.

        Raises:
            ValueError: batch_size below 1, or a rank outside 0..world-1.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size: got {batch_size}, expected at least 1")
        if not 0 <= rank < world:
            raise ValueError(f"rank: got {rank} of world {world}, expected 0..{world - 1}")
        self.split, self.batch_size, self.rank, self.world = split, batch_size, rank, world
        self.pre, self.encoded = pre_of(text), encode(split, text)

    def __len__(self) -> int:
        """Number of samples of the split."""
        return len(self.split)

    def steps(self, n: int) -> int:
        """Batches of an epoch over `n` positions; a last batch of a single sample is left out."""
        full, rest = divmod(n, self.batch_size)
        return full + (rest > 1)

    def epoch(
        self,
        epoch: int,
        positions: NDArray[np.int64],
        *,
        start: int = 0,
        crops: Callable[[NDArray[np.int64], int], Crops] | None = None,
    ) -> Iterator[Batch]:
        """Yield this process's part of each global batch; all parts have the global batch's length."""
        for step in range(start, self.steps(len(positions))):
            ids = self.split.rows[positions[step * self.batch_size : (step + 1) * self.batch_size]]
            yield _batch(self.split, self.encoded, self.pre, ids, part_of(len(ids), self.rank, self.world))


def text_batches(split: Split, text: TextInfo, batch_size: int) -> Iterator[Batch]:
    """Yield all samples of a split in order."""
    pre, encoded = pre_of(text), encode(split, text)
    for start in range(0, len(split), batch_size):
        yield _batch(split, encoded, pre, split.rows[start : start + batch_size], slice(None))


def text_batch(split: Split, text: TextInfo, ids: NDArray[np.int64]) -> Batch:
    """One batch of some of a split's samples."""
    return _batch(split, encode(split, text), pre_of(text), ids, slice(None))


def pre_of(text: TextInfo) -> TextPre:
    """The record by which the runtime cuts texts in the same way."""
    return TextPre(tokenizer=text.tokenizer.name, max_tokens=text.max_tokens, pad_id=text.pad_id)


_ENCODED: dict[tuple[str, Path, int], Encoded] = {}
_MOST_SPLITS = 8


def encode(split: Split, text: TextInfo) -> Encoded:
    """Token ids of (at least) the split's rows by sample id; those of the last few splits are remembered."""
    key = (split.digest, text.tokenizer, text.max_tokens)
    if key not in _ENCODED:
        while len(_ENCODED) >= _MOST_SPLITS:
            del _ENCODED[next(iter(_ENCODED))]
        _ENCODED[key] = {}
    known = _ENCODED[key]
    missing = [row for row in split.rows.tolist() if row not in known]
    if missing:
        found = _pipeline(pre_of(text), text.tokenizer.parent).encode(list(split.inputs[missing]))
        known.update(zip(missing, found, strict=True))
    return known


@lru_cache(maxsize=4)
def _pipeline(pre: TextPre, folder: Path) -> TextPipeline:
    return TextPipeline(pre, folder)


def _batch(split: Split, encoded: Encoded, pre: TextPre, ids: NDArray[np.int64], part: slice) -> Batch:
    texts: Sequence[NDArray[np.int64]] = [encoded[number] for number in ids.tolist()]
    feeds = pad_texts(pre, texts)
    return Batch(
        x={name: torch.from_numpy(np.ascontiguousarray(values[part])) for name, values in feeds.items()},
        y={head: torch.from_numpy(labels[ids[part]]) for head, labels in split.labels.items()},
        id=torch.from_numpy(ids[part]),
    )
