"""Where a relative path of a recipe is looked for: the recipe's folder, then $COMPACTOR_DATA."""

import os
from pathlib import Path

from compactor_runtimes.errors import UsageError


def locate(name: str, base: Path | None, *, what: str) -> Path:
    """Find a file or folder.

    Raises:
        UsageError: it is in none of the places; the message lists them.
    """
    given = Path(name).expanduser()
    if given.is_absolute():
        candidates = [given]
    else:
        data = os.environ.get("COMPACTOR_DATA")
        candidates = [root / given for root in (base, Path(data) if data else None) if root is not None]
    for candidate in candidates:
        if candidate.exists():
            return candidate
    hint = (
        ""
        if given.is_absolute() or os.environ.get("COMPACTOR_DATA")
        else "; set COMPACTOR_DATA to your data folder"
    )
    looked = ", ".join(str(candidate) for candidate in candidates)
    raise UsageError(
        f"{what}: {name} was not found (looked at {looked}); put it there or give its full path{hint}"
    )
