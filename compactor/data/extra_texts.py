"""Further texts beside a data set's own: what `data.vocabulary` counts, and what `data.also` mixes in.

They come from train tables alone and without labels; select and report stay as they are.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compactor.data.cache import Opening
from compactor.data.datasets import find_parts
from compactor.data.few_rows import spread_rows
from compactor.data.spec import DataSpec, MixSpec
from compactor.data.splits import Dataset
from compactor.data.table_files import SUFFIXES
from compactor.data.table_source import TableSource
from compactor.records import IGNORE
from compactor_runtimes.errors import UsageError

KEY = "data.also.dataset"


def mixed(data: Dataset, also: Sequence[MixSpec], opening: Opening, *, cut: str) -> Dataset:
    """Append the train texts of each further data set to the train split, unlabelled for every head.

    Rows of the data set keep their numbers, which are sample ids; those of the others follow in order.

    Args:
        data: an opened data set of texts.
        also: what to mix in.
        opening: as for the data set.
        cut: what the texts' tokens depend on, for the digests.

    Raises:
        UsageError: a further data set is missing, damaged, or holds no texts.
        UnfitEnvironmentError: a data set of the hub, and the hub cannot be reached.
    """
    train, size = data.train, len(data.train.inputs)
    texts: list[NDArray[np.object_]] = []
    parts = [(len(train), 1 - sum(one.share for one in also))]
    key: list[object] = [cut]
    for one in also:
        found, made_from = _texts(one, opening)
        texts.append(found)
        parts.append((len(found), one.share))
        key.append([one.share, made_from])

    def with_more(digest: str) -> str:
        return hashlib.sha256(json.dumps(["mixed 1", digest, *key], sort_keys=True).encode()).hexdigest()

    count = sum(map(len, texts))
    split = replace(
        train,
        inputs=np.concatenate([train.inputs, *texts]),
        labels={
            head: np.concatenate([labels, np.full((count, *labels.shape[1:]), IGNORE, labels.dtype)])
            for head, labels in train.labels.items()
        },
        rows=np.concatenate([train.rows, np.arange(size, size + count, dtype=np.int64)]),
        digest=with_more(train.digest),
        parts=tuple(parts),
    )
    sources = data.info.extra["sources"]  # by which a label store knows the data that it was made of
    sources = sources | {"train": with_more(sources["train"])}
    info = replace(data.info, extra=data.info.extra | {"sources": sources})
    return replace(data, train=split, info=info, digest=with_more(data.digest))


def _texts(one: MixSpec, opening: Opening) -> tuple[NDArray[np.object_], dict[str, Any]]:
    """The texts, and what identifies them."""
    source = further_texts(one.dataset, one.text_column, opening, key=KEY, column_key="also.text_column")
    with naming(KEY):
        if opening.at_most is not None:
            source = source.thinned(spread_rows(source.count(), opening.at_most))
        return np.array(source.texts(), dtype=object), source.fingerprint()


def further_texts(name: str, column: str, opening: Opening, *, key: str, column_key: str) -> TableSource:
    """Find the train table of a data set: a file (which counts whole), or a folder of tables named by split.

    Args:
        name: path as the recipe gives it, or an id of the hub.
        column: column of the texts.
        opening: where to look.
        key: recipe key that holds `name`, for messages.
        column_key: the same for `column`, without its `data.`.

    Raises:
        UsageError: nothing there, or no table of texts.
        UnfitEnvironmentError: a data set of the hub, and the hub cannot be reached.
    """
    with naming(key):
        part = find_parts(DataSpec(dataset=name), opening, key=key)["train"]
        if isinstance(part, Path):
            raise UsageError(
                f"{key}: {part} holds no table, expected {', '.join(SUFFIXES)} files named train, validation "
                "or test; rename them, or give one file"
            )
    return TableSource(part, column, "", holds="texts", column_key=column_key)


@contextmanager
def naming(key: str) -> Iterator[None]:
    """Let what is wrong with a table also say which recipe key named it."""
    try:
        yield
    except UsageError as error:
        if key in str(error):
            raise
        raise UsageError(f"{key}: {error}") from error
