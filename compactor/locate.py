"""Where a relative path of a recipe is looked for: the recipe's folder, then $COMPACTOR_DATA."""

import os
from importlib.util import find_spec
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


def locate_model(name: str, base: Path | None) -> Path | None:
    """The local folder of `hf:PATH` or `package:IMPORT/RESOURCE`; None for an id of the hub.

    A package is found without importing it.

    Raises:
        UsageError: no such package, no such folder in it, or a path that leaves the package.
    """
    family, _, rest = name.partition(":")
    if family != "package":
        places = [Path(rest).expanduser(), *([base / rest] if base else [])]
        data = os.environ.get("COMPACTOR_DATA")
        places += [Path(data) / rest] if data else []
        return next((place for place in places if place.is_dir()), None)
    package, _, resource = rest.partition("/")
    try:
        spec = find_spec(package) if package else None
    except (ModuleNotFoundError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(
            f"model {name}: no installed package {package!r}; install it, or give package:IMPORT/FOLDER"
        )
    root = Path(spec.submodule_search_locations[0]).resolve()
    folder = (root / resource).resolve()
    if not folder.is_relative_to(root) or not folder.is_dir():
        raise UsageError(f"model {name}: package {package} holds no folder {resource!r}; see {root}")
    return folder
