"""Train texts of a further data set, without labels: what `data.vocabulary` and `data.also` name."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compactor.data.cache import Opening
from compactor.data.datasets import find_parts
from compactor.data.spec import DataSpec
from compactor.data.table_source import SUFFIXES, TableSource
from compactor_runtimes.errors import UsageError


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
