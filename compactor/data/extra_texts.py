"""Further texts beside a data set's own: what `data.vocabulary` counts, and what `data.also` mixes in.

They come from train tables alone and without labels; select and report stay as they are.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from compactor.data.cache import Opening
from compactor.data.datasets import find_parts
from compactor.data.few_rows import spread_rows
from compactor.data.mixed_in import Added, limit_told, limited, mixed_in
from compactor.data.packed_texts import PackedTexts
from compactor.data.spec import DataSpec, MixSpec
from compactor.data.splits import Dataset
from compactor.data.table_files import SUFFIXES
from compactor.data.table_source import TableSource
from compactor_runtimes.errors import UsageError

KEY = "data.also.dataset"


def mixed(data: Dataset, also: Sequence[MixSpec], opening: Opening, *, cut: str) -> Dataset:
    """Append the train texts of each further data set to the train split, unlabelled for every head.

    Args:
        data: an opened data set of texts.
        also: what to mix in.
        opening: as for the data set.
        cut: what the texts' tokens depend on, for the digests.

    Raises:
        UsageError: a further data set is missing, damaged, or holds no texts.
        UnfitEnvironmentError: a data set of the hub, and the hub cannot be reached.
    """
    texts: list[PackedTexts] = []
    added: list[Added] = []
    notes: list[str] = []
    for one in also:
        if one.image_column is not None:
            warnings.warn("data.also.image_column has no effect on texts; remove it", stacklevel=2)
        found, made_from = _texts(one, opening)
        texts.append(found)
        notes += limit_told(one, len(found))
        rows = limited(np.arange(len(found), dtype=np.int64), one, opening.seed)
        added.append(Added(len(found), rows, made_from if one.limit is None else [made_from, one.limit]))
    joined = mixed_in(data, PackedTexts.joined([data.train.inputs, *texts]), added, also, key=[cut])
    return replace(joined, notes=(*joined.notes, *notes))


def _texts(one: MixSpec, opening: Opening) -> tuple[PackedTexts, dict[str, Any]]:
    """The texts, and what identifies them."""
    source = further_texts(one.dataset, one.text_column, opening, key=KEY, column_key="also.text_column")
    with naming(KEY):
        if opening.at_most is not None:
            source = source.thinned(spread_rows(source.count(), opening.at_most))
        return source.texts(), source.fingerprint()


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
