"""Folders in object stores, as fsspec addresses them: published whole, fetched whole, kept within a bound."""

import re
from os import PathLike, fspath
from pathlib import Path

ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://?[^/].*|file:///.+", re.DOTALL)  # a Path has one of the slashes
SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):/+")


def is_address(name: str) -> bool:
    """Whether a name is an address such as `s3://bucket/labels`, and not a path or `hf:NAME`."""
    return "://" in name and ADDRESS.fullmatch(name) is not None


def local_copy(path: str | PathLike[str], *, what: str) -> Path:
    """A path as it is; of an address the local copy, also where a Path has taken one of its slashes.

    Raises:
        CompactorError: see `fetch.fetched`.
    """
    text = fspath(path)
    if ADDRESS.fullmatch(text) is None or Path(path).exists():
        return Path(path)
    from compactor_runtimes.objects.fetch import fetched

    scheme = SCHEME.match(text)
    assert scheme is not None
    slashes = ":///" if scheme[1] == "file" else "://"
    return fetched(f"{scheme[1]}{slashes}{text[scheme.end() :]}", what=what)
