"""Batches of token ids; texts are encoded once, and a batch is padded to its longest text.

Training batches hold texts of like length, because padding is computed like everything else.

The encoding is the runtime's own (`compactor_runtimes.predict.text`), so that a model is served the ids it
was trained on.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from compactor.data.global_batches import GlobalBatches
from compactor.data.splits import Split
from compactor.records import FIRST, HEADS, IGNORE, Batch, Crops, TextInfo
from compactor_runtimes.bundle.manifest import TextPre
from compactor_runtimes.predict.text import TextPipeline, pad_texts

BUCKET_BATCHES = 32  # batches among which texts are sorted by length; more would tie batches to lengths


@dataclass(frozen=True)
class Encoded:
    """A text's token ids int64 [L] and, where words are labelled, each word's first token int64 [W] or -1."""

    ids: NDArray[np.int64]
    first: NDArray[np.int64] | None = None


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
        lengths = np.array([len(self.encoded[number].ids) for number in ids.tolist()])
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
    encoded = encode(split, text)
    lengths = [len(encoded[number].ids) for number in split.rows.tolist()]
    return replace(split, rows=split.rows[np.argsort(lengths, kind="stable")])


def text_batch(split: Split, text: TextInfo, ids: NDArray[np.int64]) -> Batch:
    """One batch of some of a split's samples."""
    return _batch(split, encode(split, text), pre_of(text), ids, slice(None))


def pre_of(text: TextInfo) -> TextPre:
    """The record by which the runtime cuts texts in the same way."""
    return TextPre(tokenizer=text.tokenizer.name, max_tokens=text.max_tokens, pad_id=text.pad_id)


_ENCODED: dict[tuple[str, Path, int], dict[int, Encoded]] = {}
_MOST_SPLITS = 8


def encode(split: Split, text: TextInfo) -> dict[int, Encoded]:
    """Encode (at least) the split's rows, by sample id; those of the last few splits are remembered."""
    key = (split.digest, text.tokenizer, text.max_tokens)
    if key not in _ENCODED:
        while len(_ENCODED) >= _MOST_SPLITS:
            del _ENCODED[next(iter(_ENCODED))]
        _ENCODED[key] = {}
    known = _ENCODED[key]
    missing = [row for row in split.rows.tolist() if row not in known]
    if missing:
        pipeline, texts = _pipeline(pre_of(text), text.tokenizer.parent), list(split.inputs[missing])
        if any(HEADS[head].level == "word" for head in split.labels):
            found = [Encoded(words.ids, words.first) for words in pipeline.encode_words(texts)]
        else:
            found = [Encoded(ids) for ids in pipeline.encode(texts)]
        known.update(zip(missing, found, strict=True))
    return known


@lru_cache(maxsize=4)
def _pipeline(pre: TextPre, folder: Path) -> TextPipeline:
    return TextPipeline(pre, folder)


def _batch(
    split: Split, encoded: dict[int, Encoded], pre: TextPre, ids: NDArray[np.int64], part: slice
) -> Batch:
    texts = [encoded[number] for number in ids.tolist()]
    feeds = {name: values[part] for name, values in pad_texts(pre, [one.ids for one in texts]).items()}
    y = {head: labels[ids[part]] for head, labels in split.labels.items()}
    words = {head: labels for head, labels in y.items() if HEADS[head].level == "word"}
    mask, aux = None, {}
    if words:
        width = next(iter(words.values())).shape[1]
        first = first_tokens(texts[part], width)
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


def first_tokens(texts: list[Encoded], width: int) -> NDArray[np.int64]:
    """First tokens of each text's words, int64 [B, width], -1 for a word without a token or no word."""
    first = np.full((len(texts), width), -1, dtype=np.int64)
    for row, one in enumerate(texts):
        assert one.first is not None
        found = one.first[:width]
        first[row, : len(found)] = found
    return first


def to_tokens(labels: NDArray[np.int64], first: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Move labels of words [B, W] to their first tokens [B, length]; every other token gets -100."""
    tokens = np.full((len(labels), length), IGNORE, dtype=np.int64)
    rows, words = np.nonzero(first >= 0)
    tokens[rows, first[rows, words]] = labels[rows, words]
    return tokens
