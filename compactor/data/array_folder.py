"""Folders of arrays in the cache: written whole, opened as memory maps, made again where they are damaged.

Layout: `<root>/<kind>/<digest>/{NAME.npy ..., meta.json}`. A folder appears by one rename, so that concurrent
writers only waste work. `meta.json` holds the SHA-256 of each file and of what it says itself, which are
checked on every opening.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compactor.cache.digest import digest_of, file_digest
from compactor_runtimes.errors import UnfitEnvironmentError
from compactor_runtimes.files import new_folder, writing

META = "meta.json"


@dataclass(frozen=True)
class Kept:
    """What a folder holds: arrays by name, mapped, and what `meta.json` says beside their digests."""

    arrays: dict[str, NDArray[Any]]
    facts: dict[str, Any]


def open_arrays(folder: Path, names: Iterable[str]) -> Kept | None:
    """Open a folder; None if there is none, or it is not as it was written."""
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
        if digest_of(meta["facts"]) != meta["facts_sha256"]:
            return None
        arrays = {}
        for name in names:
            path = folder / f"{name}.npy"
            if file_digest(path) != meta["sha256"][name]:
                return None
            mapped = np.load(path, mmap_mode="r", allow_pickle=False)
            arrays[name] = np.asarray(mapped)  # views of a memmap cost ten times as much
        return Kept(arrays, meta["facts"])
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None


def keep_arrays(folder: Path, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> bool:
    """Write a folder; False where the machine refuses, which costs no more than the work of making it again.

    One that is whole already stays, a damaged one makes room.
    """
    temporary = None
    try:
        with writing(folder.parent):
            temporary = new_folder(folder.parent, f".{folder.name[:16]}.")
            for name, array in arrays.items():
                np.save(temporary / f"{name}.npy", np.ascontiguousarray(array), allow_pickle=False)
            digests = {name: file_digest(temporary / f"{name}.npy") for name in arrays}
            meta = {"sha256": digests, "facts": facts, "facts_sha256": digest_of(facts)}
            (temporary / META).write_text(json.dumps(meta, indent=1), encoding="utf-8")
            publish(temporary, folder, lambda: open_arrays(folder, arrays) is not None)
    except (OSError, UnfitEnvironmentError):
        return False
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return True


def publish(temporary: Path, folder: Path, is_whole: Callable[[], bool]) -> None:
    """Rename into place; a whole folder that another process put there stays, a broken one makes room.

    Args:
        temporary: what was written, beside `folder`.
        folder: its place.
        is_whole: whether what lies there can be read.
    """
    try:
        temporary.rename(folder)
    except OSError:
        if not is_whole():
            aside = temporary.with_name(temporary.name + ".broken")
            folder.rename(aside)
            temporary.rename(folder)
            shutil.rmtree(aside)
