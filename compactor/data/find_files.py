"""Find the files of a data set and tell its splits by their names."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from compactor.data.spec import SPLIT_NAMES, SplitName
from compactor.locate import locate
from compactor_runtimes.errors import UsageError
from compactor_runtimes.tables import nearest

if TYPE_CHECKING:
    from compactor.data.cache import Opening

DATA_VARIABLE = "COMPACTOR_DATA"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(:[\w.-]+)?")

T = TypeVar("T")


def locate_data(name: str, base: Path | None, *, key: str, table: Mapping[str, str] | None = None) -> Path:
    """Return the existing path that `name` means (see compactor.locate; without `base`: working directory).

    Args:
        name: Path as the recipe gives it.
        base: Folder of the recipe.
        key: Recipe key that holds `name`, for the message.
        table: Named data sets that could have been meant.

    Raises:
        UsageError: nothing there; says where it looked and what to do.
    """
    try:
        return locate(name, base or Path.cwd(), what=key)
    except UsageError as error:
        if table and "/" not in name:
            raise UsageError(f"{error}; or name a data set ({nearest(name, table)})") from error
        raise


def find_data(name: str, opening: "Opening", *, key: str, table: Mapping[str, str] | None = None) -> Path:
    """Return the path that `name` means, fetching a data set of the hub where it is no local path.

    Raises:
        UsageError: nothing there; says where it looked and what to do.
        UnfitEnvironmentError: it can only be an id of the hub, which cannot be reached.
    """
    try:
        return locate_data(name, opening.base, key=key, table=table)
    except UsageError:
        if not HUB_ID.fullmatch(name) or Path(name).suffix in (".parquet", ".csv", ".tsv", ".jsonl"):
            raise
    from compactor.data.cache import cache_root
    from compactor.data.hub import fetch

    return fetch(name, cache_root(opening.cache) / "hub")


def locate_published(name: str, files: list[str]) -> list[Path]:
    """Return the files of a named data set, which lie in `$COMPACTOR_DATA/<name>/`.

    Raises:
        UsageError: the variable is not set, or a file is missing.
    """
    data = os.environ.get(DATA_VARIABLE)
    if not data:
        raise UsageError(
            f"data.dataset: {name!r} needs the files {', '.join(files)} in ${DATA_VARIABLE}/{name}, but "
            f"${DATA_VARIABLE} is not set; set it to the folder that holds {name}/"
        )
    paths = [Path(data).expanduser() / name / file for file in files]
    for path in paths:
        if not path.is_file():
            raise UsageError(
                f"data.dataset: {name!r} needs {path}, which does not exist; correct ${DATA_VARIABLE}"
            )
    return paths


def assign_splits(found: Mapping[str, T], *, where: Path) -> dict[SplitName, T]:
    """Turn the split names found on disk into train, select and report.

    A published validation split is the select split if there is a test split too; alone, it is the report
    split, as is the custom for ImageNet, and select is taken from train.

    Args:
        found: What each name of SPLIT_NAMES holds.
        where: Folder, for the message.

    Raises:
        UsageError: no train split, or two names for one split.
    """
    report = [name for name in found if SPLIT_NAMES[name] == "report"]
    validation: SplitName = "select" if report else "report"
    splits: dict[SplitName, T] = {}
    for name in sorted(found):
        role = SPLIT_NAMES[name]
        split = validation if role == "validation" else role
        if split in splits:
            raise UsageError(
                f"{where}: two {split} splits among {', '.join(sorted(found))}; keep one of them"
            )
        splits[split] = found[name]
    if "train" not in splits:
        raise UsageError(f"{where}: no train split beside {', '.join(sorted(found))}; rename or add one")
    return splits
