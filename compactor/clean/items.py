"""What `clean` finds: runs, what they share, pools, orders of workers, broken removals, and cached data.

Only folders that carry our marks are found; symbolic links are never followed and never found.
"""

import fcntl
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from msgspec import Struct

from compactor.cache.claims import JOURNALS
from compactor.cache.folder import CHECKPOINT, DONE, EXPORTED_TEACHERS
from compactor.data.pool_file import POOL_FILE
from compactor.label_store.header import UNFINISHED_FILE
from compactor_runtimes.bundle.open import MANIFEST
from compactor_runtimes.errors import UsageError

RUN_NAME = re.compile(r"\d{8}-\d{6}(-\w+)*")
STAGE_NAME = re.compile(r".+-[0-9a-f]{12}")
KEPT_NAME = re.compile(r"[0-9a-f]{12}")  # of a label store, of exported teachers, of an order of stages
DIGEST_NAME = re.compile(r"\.?[0-9a-f]{16}.*")  # of a data set, or of one that is being written
HUB_NAME = re.compile(r"[\w.-]+--[\w.-]+|[0-9a-f]{16,}")  # as the hub's own cache names them, or a digest
POOL = "pool"
WORK = "work"  # orders of stages that `--on` shares among workers
RUN_FILES = ("journal.jsonl", "recipe.yaml", "seeds.json", f"bundle/{MANIFEST}")
REMOVING = ".removing-"  # what a folder is called from the moment that it goes
ENDS = {"done", "failed", "interrupted"}
QUIET_SECONDS = 24 * 3600.0  # a run without an end that wrote nothing for that long is dead
WRITING_SECONDS = 3600.0  # the same for data that are being decoded, and for labels that are being made

Kind = Literal["run", "stage", "labels", "teachers", "work", "pool", "leftover", "data", "hub"]


class Item(Struct, kw_only=True):
    """One folder: `group` is its recipe (empty for caches), `links` the folders that it needs (absolute).

    `modified_s` is the newest change in it, seconds since 1970. `kept` says why it stays whatever the limits
    are; empty if it may go.
    """

    path: Path
    kind: Kind
    group: str
    size_bytes: int
    bundle_bytes: int
    modified_s: float
    links: set[Path]
    finished: bool
    kept: str = ""


def find_runs(runs: Path, *, now_s: float | None = None) -> list[Item]:
    """List the runs and stages of every recipe in the folder `runs`.

    Raises:
        UsageError: there is no such folder, or it holds something, but nothing that a run left.
    """
    now_s = time.time() if now_s is None else now_s
    if not runs.is_dir():
        raise UsageError(f"{runs}: is no folder; give the folder of all runs with --runs")
    root = runs.resolve()
    recipes = _folders(root)
    latest = {_real(recipe / "latest") for recipe in recipes}
    items = [item for recipe in recipes for item in _of_recipe(recipe, latest, now_s)]
    items += [pool for recipe in recipes for pool in _pools(recipe)]
    if not items and any(root.iterdir()):
        hint = f"; did you mean --runs {runs.parent}?" if (root / "stages").is_dir() else ""
        raise UsageError(
            f"{runs}: does not look like a folder of runs (NAME/TIMESTAMP as `compactor run` makes them), "
            f"nothing was touched{hint}"
        )
    return items


def find_cache(root: Path, *, now_s: float | None = None) -> list[Item]:
    """List what the data cache holds, one item a decoded data set or hub entry."""
    now_s = time.time() if now_s is None else now_s
    items = []
    for folder in _folders(root.resolve() / "data", hidden=True):
        if DIGEST_NAME.fullmatch(folder.name):
            item = _item(folder, "data", "")
            if folder.name.startswith(".") and now_s - item.modified_s < WRITING_SECONDS:
                item.kept = "is being written"
            items.append(item)
    hub = [folder for folder in _folders(root.resolve() / "hub") if HUB_NAME.fullmatch(folder.name)]
    return items + [_item(folder, "hub", "") for folder in hub]


def cache_root() -> Path:
    """Where the data cache lies for this user."""
    from compactor.data.cache import CACHE_VARIABLE

    named = os.environ.get(CACHE_VARIABLE)
    return Path(named).expanduser() if named else Path.home() / ".cache" / "compactor"


@contextmanager
def stage_lock(stage: Path) -> Iterator[bool]:
    """Hold a stage's lock, so that nobody starts to train in it; False if somebody does already."""
    try:
        # neither followed if it is a link nor created if it is not there
        handle = os.open(stage / ".lock", os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        yield True
        return
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = True
        except BlockingIOError:
            free = False
        yield free
    finally:
        os.close(handle)


def tree_size(folder: Path) -> tuple[int, float]:
    """Size in bytes of all files below (links count themselves, hard links once) and the newest change."""
    total, newest, seen = 0, folder.lstat().st_mtime, set()
    for parent, _, files in os.walk(folder):  # does not follow links
        for name in files:
            try:
                found = os.lstat(os.path.join(parent, name))
            except FileNotFoundError:  # somebody is at work there
                continue
            if (found.st_dev, found.st_ino) not in seen:
                seen.add((found.st_dev, found.st_ino))
                total += found.st_size
            newest = max(newest, found.st_mtime)
    return total, newest


def _of_recipe(recipe: Path, latest: set[Path], now_s: float) -> list[Item]:
    runs = [
        _item(folder, "run", recipe.name)
        for folder in _folders(recipe)
        if RUN_NAME.fullmatch(folder.name) and any((folder / name).is_file() for name in RUN_FILES)
    ]
    stages = [
        _item(folder, "stage", recipe.name)
        for folder in _folders(recipe / "stages")
        if STAGE_NAME.fullmatch(folder.name)
    ]
    labels = [
        _item(folder, "labels", recipe.name)
        for folder in _folders(recipe / "labels")
        if KEPT_NAME.fullmatch(folder.name)
    ]
    teachers = [
        _item(folder, "teachers", recipe.name)
        for folder in _folders(recipe / "teachers")
        if KEPT_NAME.fullmatch(folder.name) and (folder / MANIFEST).is_file()
    ]
    orders = [
        _item(folder, "work", recipe.name)
        for folder in _folders(recipe / WORK)
        if KEPT_NAME.fullmatch(folder.name) and (folder / JOURNALS).is_dir()
    ]
    for store in labels:
        if not store.finished and now_s - store.modified_s < WRITING_SECONDS:
            store.kept = "is being made"
    leftovers = [
        _item(folder, "leftover", recipe.name)
        for parent in (recipe, *(recipe / name for name in ("stages", "labels", "teachers", WORK)))
        for folder in _folders(parent, hidden=True)
        if folder.name.startswith(REMOVING)
    ]
    busy = False
    for stage in stages:
        with stage_lock(stage.path) as free:
            if not free:
                stage.kept, busy = "is being trained", True
    for run in runs:
        if run.path in latest:
            run.kept = "latest"
        elif not run.finished and (busy or now_s - run.modified_s < QUIET_SECONDS):
            run.kept = "has not ended"
    # a run links to its stages, label stores and exported teachers one by one as it reaches them
    if busy or any(run.kept and not run.finished for run in runs):
        for item in stages + labels + teachers + orders:
            item.kept = item.kept or "a run of this recipe has not ended"
    return runs + stages + labels + teachers + orders + leftovers


def _item(folder: Path, kind: Kind, group: str) -> Item:
    size, modified = tree_size(folder)
    bundle = folder / "bundle"
    has_bundle = kind == "run" and (bundle / MANIFEST).is_file() and not bundle.is_symlink()
    return Item(
        path=folder,
        kind=kind,
        group=group,
        size_bytes=size,
        bundle_bytes=tree_size(bundle)[0] if has_bundle else 0,
        modified_s=modified,
        links=_links(folder) if kind == "run" else set(),
        finished=_has_ended(folder) if kind == "run" else not _resumable(folder),
    )


def _pools(recipe: Path) -> Iterator[Item]:
    """What `compactor pool build` made of a recipe, or has begun to; it stays."""
    folder = recipe / POOL
    if not folder.is_symlink() and ((folder / POOL_FILE).is_file() or _folders(folder / "scores")):
        pool = _item(folder, "pool", recipe.name)
        pool.kept = "recipes may name it"
        yield pool


def _links(run: Path) -> set[Path]:
    """What a run shows of what is kept beside it, and the runs that a `seeds.json` is made of."""
    names = ("checkpoints", "labels", EXPORTED_TEACHERS)
    folders = [folder for name in names if (folder := run / name).is_dir()]
    links = {_real(link) for folder in folders for link in folder.iterdir()}
    try:
        listed = json.loads((run / "seeds.json").read_bytes())["runs"]
        links |= {_real(run / name) for name in listed}
    except (OSError, ValueError, KeyError, TypeError):  # no folder of seeds, or not one that can be read
        pass
    return links


def _has_ended(run: Path) -> bool:
    """Whether the journal's last event is an end; a folder without a journal is no run that goes on."""
    try:
        last = (run / "journal.jsonl").read_text(encoding="utf-8").splitlines()[-1]
        return json.loads(last).get("event") in ENDS
    except FileNotFoundError:
        return not (run / "recipe.yaml").is_file() or (run / "seeds.json").is_file()
    except (IndexError, ValueError, AttributeError):
        return False


def _resumable(folder: Path) -> bool:
    """Whether a stage's training, or a label store's making, was begun and can go on."""
    if (folder / UNFINISHED_FILE).is_file():
        return True
    return (folder / CHECKPOINT).is_file() and not (folder / DONE).is_file()


def _real(path: Path) -> Path:
    """Where a path leads; a chain of links without an end leads nowhere, and is no error."""
    return Path(os.path.realpath(path))


def _folders(parent: Path, *, hidden: bool = False) -> list[Path]:
    """Real folders in `parent` by name; none if it is missing or itself a link."""
    if parent.is_symlink() or not parent.is_dir():
        return []
    return [
        child
        for child in sorted(parent.iterdir())
        if child.is_dir() and not child.is_symlink() and (hidden or not child.name.startswith("."))
    ]
