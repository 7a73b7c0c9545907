"""Put a local folder at an address, so that whoever reads it finds all of it or nothing.

1. `publishing.json` says first that something is on its way; `published.json` is written when all is there.
2. What is published is never replaced by something else; the same once more changes nothing.
3. Stopped at any moment, the same call goes on: files that are there with their size are not sent again.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from compactor_runtimes.errors import UsageError
from compactor_runtimes.objects.listing import BEGUN, LISTING, MOST_BYTES, listing_of, read_listing
from compactor_runtimes.objects.store import ObjectStore


@dataclass(frozen=True)
class Published:
    """What was published, and how much of it was sent now."""

    address: str
    digest: str
    files: int
    bytes: int
    sent: int


def publish(
    folder: Path, address: str, *, told: Callable[[int, int], None] = lambda done, total: None
) -> Published:
    """Publish a folder.

    Args:
        folder: a finished label store, pool, bundle, or any other folder; hidden files stay.
        address: where to, such as `s3://bucket/labels`.
        told: is told files done and files in all.

    Raises:
        UsageError: no such folder, nothing in it, something else is published or on its way there.
        UnfitEnvironmentError: the store cannot be reached.
    """
    if not folder.is_dir():
        raise UsageError(f"publish: {folder} is no folder; give a finished store, pool or bundle")
    store, listing = ObjectStore(address), listing_of(folder)
    if not listing.files:
        raise UsageError(f"publish: {folder} holds no files; give a finished store, pool or bundle")
    total = sum(one.bytes for one in listing.files)
    found = store.content(LISTING, MOST_BYTES)
    if found is not None:
        there = read_listing(found, store.address)
        if there.digest != listing.digest:
            raise UsageError(
                f"{store.address}: something else is published there ({len(there.files):,} files, digest "
                f"{there.digest[:12]}; {folder} has {listing.digest[:12]}); give another address"
            )
        store.remove(BEGUN)
        return Published(store.address, listing.digest, len(listing.files), total, 0)
    begun = store.content(BEGUN, MOST_BYTES)
    if begun is not None and _digest(begun) != listing.digest:
        raise UsageError(
            f"{store.address}: something else is on its way there, or was left half done ({BEGUN} names "
            f"digest {_digest(begun)[:12]}); give another address, or remove that folder first"
        )
    store.write(BEGUN, json.dumps({"digest": listing.digest}).encode())
    sizes = {path: one["size"] for path, one in store.listed().items()} if begun is not None else {}
    sent = 0
    for done, one in enumerate(listing.files):
        if sizes.get(one.path) != one.bytes:
            store.upload(str(folder / one.path), one.path)
            sent += 1
        told(done + 1, len(listing.files))
    store.write(LISTING, listing.encoded())
    store.remove(BEGUN)
    return Published(store.address, listing.digest, len(listing.files), total, sent)


def _digest(content: bytes) -> str:
    try:
        return str(json.loads(content)["digest"])
    except (ValueError, KeyError, TypeError):
        return "unreadable"
