"""What a runtime opens and says of it: the content of files, and the ports of a graph."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from msgspec import Struct

from compactor_runtimes.files import writing

Contents: TypeAlias = Mapping[str, bytes]
"""Names of files, relative to the folder of the one that is opened, and what they hold."""


class Port(Struct, frozen=True):
    """An input or output as the graph states it: numpy's name of its type, and its sizes.

    A size is None where it may be any; `axes` are None where the graph does not say how many there are.
    """

    dtype: str
    axes: list[int | None] | None


@contextmanager
def placed(content: Contents) -> Iterator[Path]:
    """Put the files for the block into a folder that only this user can reach, for what opens paths alone."""
    from tempfile import TemporaryDirectory  # most runtimes take contents as they are

    with TemporaryDirectory(prefix="compactor-") as name:
        folder = Path(name)
        for relative, held in content.items():
            path = folder / relative
            with writing(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(held)
        yield folder
