"""Our own sources as syntax trees, parsed once for all tests that look at them."""

import ast
from functools import cache
from pathlib import Path


@cache
def tree_of(path: Path) -> ast.Module:
    """The tree of a file, which tests only read."""
    return ast.parse(path.read_text(encoding="utf-8"))
