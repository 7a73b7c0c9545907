"""The token ids of a split's texts, cut once: two arrays instead of N, in the cache where they are many.

Layout: `<root>/token-ids/<digest>/{ids.npy, ids_ends.npy, rows.npy, meta.json}`, with `first.npy` and
`first_ends.npy` where words are labelled; see compactor.data.cache for the root. The digest covers the split,
its rows, the tokenizer's bytes, where texts are cut, the code and the library's version.

The encoding is the runtime's own (`compactor_runtimes.predict.text`), so that a model is served the ids that
it was trained on.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compactor.cache.code import code_digest
from compactor.cache.digest import digest_of, file_digest, tool_versions
from compactor.data.array_folder import Kept, keep_arrays, open_arrays
from compactor.data.cache import cache_root
from compactor.data.splits import Split
from compactor.records import HEADS, TextInfo
from compactor_runtimes.bundle.manifest import TextPre
from compactor_runtimes.errors import InputError
from compactor_runtimes.predict.text import TextPipeline

LEAST_TEXTS = 20_000  # from which on their ids are kept in the cache
TEXTS_PER_CALL = 4096
MOST_SPLITS = 8  # whose ids are remembered


@dataclass(frozen=True)
class Ragged:
    """Arrays of different lengths, one after the other: number i ends at `ends[i]` of `values`."""

    values: NDArray[np.int32]
    ends: NDArray[np.int64]

    @classmethod
    def of(cls, parts: "Sequence[Ragged]") -> "Ragged":
        """Put parts, of which each counts from 0, one after the other."""
        values = np.concatenate([np.zeros(0, np.int32), *(one.values for one in parts)])
        starts = np.cumsum([0, *(len(one.values) for one in parts)])
        ends = [one.ends + start for one, start in zip(parts, starts[:-1], strict=True)]
        return cls(values, np.concatenate([np.zeros(0, np.int64), *ends]))

    def lengths(self) -> NDArray[np.int64]:
        """Length of each, int64 [N]."""
        return np.diff(self.ends, prepend=0)

    def __getitem__(self, place: int) -> NDArray[np.int64]:
        """Number `place`."""
        start = self.ends[place - 1] if place else 0
        return self.values[start : self.ends[place]].astype(np.int64)


@dataclass(frozen=True)
class TokenIds:
    """The ids of texts and, where words are labelled, each word's first token or -1; found by sample id.

    `rows` int64 [N] are the sample ids, ascending.
    """

    rows: NDArray[np.int64]
    ids: Ragged
    first: Ragged | None = None

    def has(self, rows: NDArray[np.int64]) -> bool:
        """Whether all of the samples are among them."""
        if not len(self.rows):
            return not len(rows)
        places = np.searchsorted(self.rows, rows).clip(max=len(self.rows) - 1)
        return bool((self.rows[places] == rows).all())

    def lengths(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Tokens of some samples, int64 [n]."""
        return self.ids.lengths()[np.searchsorted(self.rows, rows)]

    def ids_of(self, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Token ids int64 [L] of each of some samples."""
        return [self.ids[place] for place in np.searchsorted(self.rows, rows).tolist()]

    def first_of(self, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """First tokens int64 [W] of the words of each of some samples."""
        assert self.first is not None
        return [self.first[place] for place in np.searchsorted(self.rows, rows).tolist()]


_KNOWN: dict[tuple[str, Path, int], TokenIds] = {}


def encode(
    split: Split, text: TextInfo, cache: Path | None = None, *, needed: NDArray[np.int64] | None = None
) -> TokenIds:
    """Encode the split's rows; those of the last few splits are remembered.

    Args:
        split: of texts.
        text: how they are cut.
        cache: root of the cache, absent = the usual one.
        needed: the samples that are asked for, absent = all of the split's; where these are known, the others
            are not looked up.
    """
    key = (split.digest, text.tokenizer, text.max_tokens)
    found = _KNOWN.get(key)
    if found is None or not found.has(split.rows if needed is None else needed):
        _KNOWN.pop(key, None)
        while len(_KNOWN) >= MOST_SPLITS:
            del _KNOWN[next(iter(_KNOWN))]
        rows = np.unique(split.rows)
        found = _KNOWN[key] = _from_cache(split, rows, text, cache) or _encoded(split, rows, text)
    return found


def pre_of(text: TextInfo) -> TextPre:
    """The record by which the runtime cuts texts in the same way."""
    return TextPre(tokenizer=text.tokenizer.name, max_tokens=text.max_tokens, pad_id=text.pad_id)


def _from_cache(split: Split, rows: NDArray[np.int64], text: TextInfo, cache: Path | None) -> TokenIds | None:
    """From the cache, or through it; None where they are few, or it cannot be written."""
    if len(rows) < LEAST_TEXTS:
        return None
    words = _has_words(split)
    made_from = {
        "split": split.digest,
        "rows": hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest(),
        "tokenizer": file_digest(text.tokenizer),
        "max_tokens": text.max_tokens,
        "words": words,
        "code": code_digest([__name__]),
        "tools": tool_versions(("tokenizers", "numpy")),
    }
    folder = cache_root(cache) / "token-ids" / digest_of(made_from)
    names = ("rows", "ids", "ids_ends", *(("first", "first_ends") if words else ()))
    kept = open_arrays(folder, names)
    if kept is None:
        found = _encoded(split, rows, text)
        arrays: dict[str, NDArray[Any]] = {"rows": rows, "ids": found.ids.values, "ids_ends": found.ids.ends}
        if found.first is not None:
            arrays |= {"first": found.first.values, "first_ends": found.first.ends}
        kept = open_arrays(folder, names) if keep_arrays(folder, arrays, made_from) else None
        if kept is None:
            return found
    return _opened(kept)


def _opened(kept: Kept) -> TokenIds:
    of = kept.arrays
    first = Ragged(of["first"], of["first_ends"]) if "first" in of else None
    return TokenIds(of["rows"], Ragged(of["ids"], of["ids_ends"]), first)


def _encoded(split: Split, rows: NDArray[np.int64], text: TextInfo) -> TokenIds:
    pipeline, words = _pipeline(pre_of(text), text.tokenizer.parent), _has_words(split)
    ids: list[Ragged] = []
    first: list[Ragged] = []
    for start in range(0, len(rows), TEXTS_PER_CALL):
        texts = list(split.inputs[rows[start : start + TEXTS_PER_CALL]])
        try:
            if words:
                found = pipeline.encode_words(texts)
                ids.append(_ragged(one.ids for one in found))
                first.append(_ragged(one.first for one in found))
            else:
                ids.append(_ragged(pipeline.encode(texts)))
        except InputError as error:
            raise InputError(start + error.index, error.reason) from error
    return TokenIds(rows, Ragged.of(ids), Ragged.of(first) if words else None)


def _ragged(arrays: Iterable[NDArray[np.int64]]) -> Ragged:
    parts = list(arrays)
    return Ragged(np.concatenate(parts).astype(np.int32), np.cumsum([len(one) for one in parts]))


def _has_words(split: Split) -> bool:
    return any(HEADS[head].level == "word" for head in split.labels)


@lru_cache(maxsize=4)
def _pipeline(pre: TextPre, folder: Path) -> TextPipeline:
    return TextPipeline(pre, folder)
