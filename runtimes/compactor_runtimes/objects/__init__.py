"""Folders in object stores, as fsspec addresses them: published whole, fetched whole, kept within a bound."""

import re

ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://.*", re.DOTALL)


def is_address(name: str) -> bool:
    """Whether a name is an address such as `s3://bucket/labels`, and not a path or `hf:NAME`."""
    return ADDRESS.fullmatch(name) is not None
