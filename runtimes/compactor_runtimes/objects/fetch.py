"""A local copy of what lies at an address: whole, checked, and kept within a bound.

1. A published folder is fetched by its listing; each file's hash is checked on the bytes that were written.
   The address of a file in it, such as a pool's `pool.json`, brings the whole folder.
2. A copy appears by one rename. It lies below $COMPACTOR_CACHE (default: ~/.cache/compactor) and is found
   again by the digest of what is published, or by the names, sizes and marks of what is not.
3. Beyond $COMPACTOR_CACHE_GB (default: 50) copies that nobody used for a day go, the longest unused first.
"""

import functools
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from compactor_runtimes.errors import IntegrityError, UnfitEnvironmentError, UsageError
from compactor_runtimes.files import new_folder, write_whole, writing
from compactor_runtimes.objects.listing import BEGUN, LISTING, MOST_BYTES, Listed, read_listing
from compactor_runtimes.objects.store import ObjectStore
from compactor_runtimes.units import scaled

UNUSED_S = 24 * 3600.0
SIZE = ".bytes"  # in a copy, what it takes; its time is that of the last use


def fetched(address: str, *, what: str, told: Callable[[int, int], None] = lambda done, total: None) -> Path:
    """The local copy of a file or folder.

    Args:
        address: such as `s3://bucket/labels`.
        what: the thing that is looked for, for messages.
        told: is told bytes done and bytes in all.

    Raises:
        UsageError: nothing is there, or it was not published to its end.
        IntegrityError: other bytes than were published.
        UnfitEnvironmentError: the store cannot be reached, or there is no room for the copy.
    """
    store = ObjectStore(address)
    listing = store.content(LISTING, MOST_BYTES)
    if listing is not None:
        files = read_listing(listing, store.address).files
        return _copy(store, files, told)
    if store.content(BEGUN, MOST_BYTES) is not None:
        raise UsageError(
            f"{what}: {store.address} was not published to its end; give the publishing command again"
        )
    parent, _, name = store.address.rpartition("/")
    if not parent.endswith("/"):  # else it is the scheme's
        around = ObjectStore(parent).content(LISTING, MOST_BYTES)
        if around is not None and any(one.path == name for one in read_listing(around, parent).files):
            return fetched(parent, what=what, told=told) / name
    found = store.listed()
    files = [Listed(path, int(one["size"]), "") for path, one in sorted(found.items())]
    if not files:
        raise UsageError(f"{what}: nothing lies at {store.address}; correct the address")
    return _copy(store, files, told, mark=_mark(found))


def _mark(found: dict[str, Any]) -> str:
    """What tells one content of a path from another, where nobody published hashes."""
    keys = ("size", "ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "created")
    return json.dumps(
        {path: {key: str(one[key]) for key in keys if key in one} for path, one in found.items()}
    )


def _copy(
    store: ObjectStore, files: list[Listed], told: Callable[[int, int], None], *, mark: str = ""
) -> Path:
    """Rules 1 and 2."""
    name = hashlib.sha256(json.dumps([store.address, [[o.path, o.sha256] for o in files], mark]).encode())
    place, total = _cache() / name.hexdigest()[:24], sum(one.bytes for one in files)
    alone = place / Path(store.address).name if [one.path for one in files] == [""] else None
    if (place / SIZE).is_file():
        os.utime(place / SIZE)
        return alone or place
    _make_room(place.parent, total)
    partial = new_folder(place.parent, "partial-")
    try:
        done = 0
        for one in files:
            target = partial / (one.path or Path(store.address).name)
            store.again(functools.partial(_fetch, store, one, target), one.path)
            done += one.bytes
            told(done, total)
        write_whole(partial / SIZE, str(total).encode())
        if not place.exists():
            partial.rename(place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return alone or place


def _fetch(store: ObjectStore, one: Listed, target: Path) -> None:
    digest, size = hashlib.sha256(), 0
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            for piece in store.chunks(one.path):
                digest.update(piece)
                size += len(piece)
                file.write(piece)
    if size < one.bytes:
        raise ConnectionError(f"{size:,} of {one.bytes:,} bytes came")  # is tried again
    if size > one.bytes or (one.sha256 and digest.hexdigest() != one.sha256):
        raise IntegrityError(
            f"{store.address}/{one.path}: other bytes than were published ({size:,} found, {one.bytes:,} "
            "expected, or another hash); publish the folder again under another address"
        )


def _cache() -> Path:
    root = os.environ.get("COMPACTOR_CACHE") or "~/.cache/compactor"
    folder = Path(root).expanduser() / "objects"
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def _make_room(cache: Path, needed: int) -> None:
    """Rule 3.

    Raises:
        UnfitEnvironmentError: what is in use leaves too little.
    """
    bound = float(os.environ.get("COMPACTOR_CACHE_GB", "50")) * 1e9
    sizes = sorted(cache.glob(f"*/{SIZE}"), key=lambda path: path.stat().st_mtime)
    taken = {path: int(path.read_text(encoding="ascii")) for path in sizes}
    for path in list(taken):
        if sum(taken.values()) + needed <= bound:
            break
        if time.time() - path.stat().st_mtime > UNUSED_S:
            shutil.rmtree(path.parent, ignore_errors=True)
            taken[path] = 0
    left = bound - sum(taken.values())
    free = shutil.disk_usage(cache).free
    if needed > min(left, free):
        why = "the disk has" if free < left else "COMPACTOR_CACHE_GB leaves"
        raise UnfitEnvironmentError(
            f"cache {cache}: {scaled(needed, 'B')} are to be fetched, {why} "
            f"{scaled(max(min(left, free), 0), 'B')}; set COMPACTOR_CACHE_GB higher, or COMPACTOR_CACHE to a "
            "larger disk, or remove what is not needed"
        )
