"""How a path of the command line is written into a recipe, which resolves against its own folder."""

import os
from pathlib import Path

from compactor.locate import locate


def path_in_recipe(given: str, base: Path | None, *, what: str) -> tuple[str, Path]:
    """Find a path in the working directory or `$COMPACTOR_DATA` and say how the recipe names it.

    Args:
        given: Path as the user typed it.
        base: Folder of the recipe; absent = unknown yet, so that only a full path is safe.
        what: What it is, for the message.

    Returns:
        The text for the recipe and the existing path. What was given relative to the working directory
        becomes relative to `base`; full paths, and paths in `$COMPACTOR_DATA`, stay as they are.

    Raises:
        UsageError: there is nothing.
    """
    found = locate(given, Path.cwd(), what=what)
    here = Path(given).expanduser()
    if here.is_absolute():
        return str(here), found
    if not (Path.cwd() / here).exists():  # it lies in $COMPACTOR_DATA, which stays the place to look
        return given, found
    if base is None:
        return os.path.abspath(found), found
    relative = os.path.relpath(os.path.abspath(found), base.resolve())
    # a bare word could be the name of a data set or a hub id
    return relative if relative.startswith("..") else f"./{relative}", found
