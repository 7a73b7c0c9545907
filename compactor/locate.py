"""Where a path of a recipe is: in the recipe's folder, in $COMPACTOR_DATA, or fetched from its address."""

import os
import re
from importlib.util import find_spec
from pathlib import Path

from compactor_runtimes.errors import UsageError
from compactor_runtimes.objects import is_address

# `name` or `owner/name`; what begins with a dot or a slash can only be a path
HUB_MODEL = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


def locate(name: str, base: Path | None, *, what: str) -> Path:
    """Find a file or folder; of an address such as `s3://bucket/labels`, the local copy.

    Raises:
        UsageError: it is in none of the places; the message lists them.
        UnfitEnvironmentError: an address that cannot be reached, or no room for its copy.
        IntegrityError: other bytes than were published at an address.
    """
    if is_address(name):
        from compactor_runtimes.objects.fetch import fetched

        return fetched(name, what=what)
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

    A path is looked for in `base` (absent = the working directory), then in $COMPACTOR_DATA. A package is
    found without importing it.

    Raises:
        UsageError: a path that is no id of the hub and does not exist, no such package, no such folder in it,
            or a path that leaves the package.
    """
    family, _, rest = name.partition(":")
    if family == "package":
        return _in_package(name, *rest.partition("/")[::2])
    given = Path(rest).expanduser()
    data = os.environ.get("COMPACTOR_DATA")
    places = [(base or Path.cwd()) / given, *([Path(data) / given] if data else [])]
    found = next((place for place in places if place.is_dir()), None)
    if found is None and not HUB_MODEL.fullmatch(rest):
        looked = ", ".join(str(place) for place in dict.fromkeys(places))
        raise UsageError(
            f"model {name}: folder {rest} was not found (looked at {looked}); give a folder that holds "
            "config.json, or an id of the hub"
        )
    return found


def _in_package(name: str, package: str, resource: str) -> Path:
    top, *inner = package.split(".")
    # only the top package is looked up: looking up an inner one would import those around it
    spec = find_spec(top) if top.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(
            f"model {name}: no installed package {package!r}; install it, or give package:IMPORT/FOLDER"
        )
    roots = [Path(place).resolve() for place in spec.submodule_search_locations]
    for root in roots:
        folder = root.joinpath(*inner, resource).resolve()
        if folder.is_relative_to(root) and folder.is_dir():
            return folder
    raise UsageError(f"model {name}: package {package} holds no folder {resource!r}; see {roots[0]}")
