"""Append unlabelled samples to a train split, each source with its share of an epoch (`data.also`).

Select and report stay as they are. Rows of the data set keep their numbers, which are sample ids; those of
the other sources follow in order.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compactor.data.spec import MixSpec
from compactor.data.splits import Dataset
from compactor.records import IGNORE
from compactor_runtimes.errors import UsageError

DRAWN = 3  # what the seed of `limit` is followed by; 0 to 2 cut and limit the splits


@dataclass(frozen=True)
class Added:
    """What an entry of `data.also` adds: `rows` (ascending) of a source of `size` samples; what tells it."""

    size: int
    rows: NDArray[np.int64]
    identity: Any


def limited(rows: NDArray[np.int64], one: MixSpec, seed: int) -> NDArray[np.int64]:
    """At most `limit` of the rows, drawn at random with the seed of the splits; ascending."""
    if one.limit is None or one.limit >= len(rows):
        return rows
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, DRAWN])))
    return np.sort(rng.permutation(rows)[: one.limit])


def limit_told(one: MixSpec, of: int) -> list[str]:
    """Say that not all of the samples that there are, `of`, are used; nothing where they are."""
    if one.limit is None or one.limit >= of:
        return []
    return [f"also {one.dataset}: {one.limit:,} of {of:,} samples are used, drawn at random (limit)"]


def mixed_in(
    data: Dataset, inputs: Any, added: Sequence[Added], also: Sequence[MixSpec], *, key: Sequence[Any]
) -> Dataset:
    """Put samples of further sources into the train split, unlabelled for every head.

    Args:
        data: an opened data set.
        inputs: those of its train source, followed by the further sources'.
        added: what each entry of `also` adds.
        also: says the shares. Those that are given come first; the data set and the entries without a share
            divide the rest by their rows.
        key: what else decides how the samples are read, for the digests.

    Raises:
        UsageError: an entry adds nothing.
    """
    train = data.train
    for entry, one in zip(also, added, strict=True):
        if not len(one.rows):
            raise UsageError(
                f"data.also.dataset: {entry.dataset} adds no sample, expected at least one; remove it"
            )
    identities = [[entry.share, one.identity] for entry, one in zip(also, added, strict=True)]

    def with_more(digest: str) -> str:
        text = json.dumps(["mixed 1", digest, *key, *identities], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    count, counts = sum(one.size for one in added), [len(train), *(len(one.rows) for one in added)]
    starts = np.cumsum([len(train.inputs), *(one.size for one in added)])
    rows = [one.rows + start for one, start in zip(added, starts, strict=False)]
    split = replace(
        train,
        inputs=inputs,
        labels={
            head: np.concatenate([labels, np.full((count, *labels.shape[1:]), IGNORE, labels.dtype)])
            for head, labels in train.labels.items()
        },
        rows=np.concatenate([train.rows, *rows]),
        digest=with_more(train.digest),
        parts=tuple(zip(counts, _shares(counts, also), strict=True)),
    )
    sources = data.info.extra["sources"]  # by which a label store knows the data that it was made of
    sources = sources | {"train": with_more(sources["train"])}
    info = replace(data.info, extra=data.info.extra | {"sources": sources})
    return replace(data, train=split, info=info, digest=with_more(data.digest))


def _shares(counts: Sequence[int], also: Sequence[MixSpec]) -> list[float]:
    """Share of an epoch of the data set's own rows, and of each entry's; `counts` are their rows."""
    given = [None, *(entry.share for entry in also)]
    rest = 1 - sum(share for share in given if share is not None)
    by_rows = sum(count for count, share in zip(counts, given, strict=True) if share is None)
    return [
        count / by_rows * rest if share is None else share for count, share in zip(counts, given, strict=True)
    ]
