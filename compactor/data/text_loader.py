"""Batches of token ids (token_ids.py); a batch is padded to its longest text.

Training batches hold texts of like length, because padding is computed like everything else.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from compactor.data.global_batches import GlobalBatches
from compactor.data.splits import Split
from compactor.data.token_ids import TokenIds, encode, pre_of
from compactor.records import FIRST, HEADS, IGNORE, Batch, Crops, TextInfo
from compactor_runtimes.bundle.manifest import TextPre
from compactor_runtimes.predict.text import pad_texts

BUCKET_BATCHES = 32  # batches among which texts are sorted by length; more would tie batches to lengths


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
            seed: Of the order in which an epoch's batches come.
            rank: Number of this process, 0..world-1.
            world: Number of processes.

        Raises:
            ValueError: batch_size below 1, or a rank outside 0..world-1.
        """
        self.split, self.seed, self.batches = split, seed, GlobalBatches(batch_size, rank, world)
        self.pre, self.encoded = pre_of(text), encode(split, text)

    def __len__(self) -> int:
        """Number of samples of the split."""
        return len(self.split)

    def steps(self, n: int) -> int:
        """Batches of an epoch over `n` positions."""
        return self.batches.steps(n)

    def epoch(
        self,
        epoch: int,
        positions: NDArray[np.int64],
        *,
        start: int = 0,
        crops: Callable[[NDArray[np.int64], int], Crops] | None = None,
    ) -> Iterator[Batch]:
        """Yield this process's part of each global batch; all parts have the global batch's length."""
        ids = self.split.rows[positions]
        lengths = self.encoded.lengths(ids)
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((self.seed, epoch, 1))))
        ids = ids[by_length(lengths, self.batches.batch_size, rng)]
        for step, batch, part in self.batches.cut(ids, start=start):
            yield self.make(batch, epoch, step, part)

    def make(self, ids: NDArray[np.int64], epoch: int, step: int, part: slice) -> Batch:
        """Make the rows `part` of the global batch of samples `ids`."""
        return _batch(self.split, self.encoded, self.pre, ids, part)


def by_length(
    lengths: NDArray[np.int64], batch_size: int, rng: np.random.Generator, window: int = BUCKET_BATCHES
) -> NDArray[np.int64]:
    """Order samples so that a batch holds texts of like length, and batches come in random order.

    Only the samples of `window` successive batches are sorted among each other; a last batch that is not full
    stays last.

    Args:
        lengths: int64 [n], in the order in which the sampler visits them.
        batch_size: samples of a batch.
        rng: shuffles the full batches.
        window: number of successive batches that are sorted together.

    Returns:
        int64 [n], a permutation.
    """
    full = len(lengths) // batch_size
    order = np.arange(len(lengths))
    for start in range(0, full * batch_size, window * batch_size):
        inside = slice(start, min(start + window * batch_size, full * batch_size))
        order[inside] = order[inside][np.argsort(lengths[inside], kind="stable")]
    batches = order[: full * batch_size].reshape(full, batch_size)
    return np.concatenate([batches[rng.permutation(full)].reshape(-1), order[full * batch_size :]])


def text_batches(split: Split, text: TextInfo, batch_size: int) -> Iterator[Batch]:
    """Yield all samples of a split in order."""
    pre, encoded = pre_of(text), encode(split, text)
    for start in range(0, len(split), batch_size):
        yield _batch(split, encoded, pre, split.rows[start : start + batch_size], slice(None))


def shortest_first(split: Split, text: TextInfo) -> Split:
    """The same split with its rows by length in tokens, for who reads every text once, in whatever order."""
    lengths = encode(split, text).lengths(split.rows)
    return replace(split, rows=split.rows[np.argsort(lengths, kind="stable")])


def text_batch(split: Split, text: TextInfo, ids: NDArray[np.int64]) -> Batch:
    """One batch of some of a split's samples."""
    return _batch(split, encode(split, text, needed=ids), pre_of(text), ids, slice(None))


def _batch(split: Split, encoded: TokenIds, pre: TextPre, ids: NDArray[np.int64], part: slice) -> Batch:
    feeds = {name: values[part] for name, values in pad_texts(pre, encoded.ids_of(ids)).items()}
    y = {head: labels[ids[part]] for head, labels in split.labels.items()}
    words = {head: labels for head, labels in y.items() if HEADS[head].level == "word"}
    mask, aux = None, {}
    if words:
        width = next(iter(words.values())).shape[1]
        first = first_tokens(encoded.first_of(ids[part]), width)
        y |= {head: to_tokens(labels, first, feeds[pre.ids].shape[1]) for head, labels in words.items()}
        mask = to_tokens(np.ones_like(first), first, feeds[pre.ids].shape[1]) == 1
        aux = {FIRST: torch.from_numpy(first)}
    return Batch(
        x={name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in feeds.items()},
        y={head: torch.from_numpy(labels) for head, labels in y.items()},
        id=torch.from_numpy(ids[part]),
        mask=None if mask is None else torch.from_numpy(mask),
        aux=aux,
    )


def first_tokens(texts: list[NDArray[np.int64]], width: int) -> NDArray[np.int64]:
    """First tokens of each text's words, int64 [B, width], -1 for a word without a token or no word."""
    first = np.full((len(texts), width), -1, dtype=np.int64)
    for row, one in enumerate(texts):
        found = one[:width]
        first[row, : len(found)] = found
    return first


def to_tokens(labels: NDArray[np.int64], first: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Move labels of words [B, W] to their first tokens [B, length]; every other token gets -100."""
    tokens = np.full((len(labels), length), IGNORE, dtype=np.int64)
    rows, words = np.nonzero(first >= 0)
    tokens[rows, first[rows, words]] = labels[rows, words]
    return tokens
