"""Decide what of old runs, stages and cached data goes, and remove it.

The rules: (1) `latest`, what is being worked on, and what these need stays. (2) `keep` protects the newest
runs of each recipe; alone, all other runs go, with the finished stages and exported teachers that no run
needs any longer. (3) `older_than_days` picks what has not changed for so long. (4) `max_size` picks the
oldest things until the rest fits. (5) What runs share goes only when no run that stays links to it, and a run
that a folder of seeds lists only with that folder.
"""

import re
import shutil
import time
from pathlib import Path

from msgspec import Struct

from compactor.clean.items import REMOVING, Item, find_cache, find_runs, stage_lock
from compactor_runtimes.errors import UsageError

DAY_SECONDS = 86_400.0
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_UNITS |= {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


class Limits(Struct, frozen=True, kw_only=True):
    """What decides; None is no such limit. `keep_bundles` leaves the bundle of a run that goes."""

    keep: int | None = None
    older_than_days: float | None = None
    max_size_bytes: int | None = None
    keep_bundles: bool = False

    @property
    def any(self) -> bool:
        """Whether there is a limit at all; without one nothing goes."""
        return not (self.keep is None and self.older_than_days is None and self.max_size_bytes is None)


class Verdict(Struct, kw_only=True):
    """One item, whether it goes, why or why not, and the bytes that its removal frees."""

    item: Item
    goes: bool
    why: str
    frees_bytes: int


class CleanPlan(Struct, frozen=True, kw_only=True):
    """Everything found with its verdict, oldest first."""

    limits: Limits
    verdicts: list[Verdict]

    @property
    def total_bytes(self) -> int:
        """Size of everything found."""
        return sum(verdict.item.size_bytes for verdict in self.verdicts)

    @property
    def frees_bytes(self) -> int:
        """Size of what goes."""
        return sum(verdict.frees_bytes for verdict in self.verdicts if verdict.goes)


def plan_clean(
    runs: Path, limits: Limits, *, cache: Path | None = None, now_s: float | None = None
) -> CleanPlan:
    """Find runs, stages and, if `cache` is given, cached data, and decide what goes; removes nothing.

    Raises:
        UsageError: `runs` is no folder of runs.
    """
    now_s = time.time() if now_s is None else now_s
    items = find_runs(runs, now_s=now_s) + (find_cache(cache, now_s=now_s) if cache else [])
    items.sort(key=lambda item: (item.modified_s, item.path))
    protected = _newest(items, limits.keep or 0)
    goes: dict[Path, str] = {}
    before = -1
    while len(goes) != before:  # what went frees what it needed, so look again
        before = len(goes)
        for item in items:
            why = _picked(item, limits, protected, now_s)
            if why and not _stays(item, items, goes, protected):
                goes[item.path] = why
    if limits.max_size_bytes is not None:
        _shrink(items, goes, protected, limits)
    verdicts = []
    for item in items:
        only_bundle = _is_stripped(item, limits)
        why = goes.get(item.path) or _stays(item, items, goes, protected) or _rests(item, limits)
        verdicts.append(
            Verdict(
                item=item,
                goes=item.path in goes and not only_bundle,
                why="only its bundle is left" if only_bundle else why,
                frees_bytes=_frees(item, limits),
            )
        )
    return CleanPlan(limits=limits, verdicts=verdicts)


def carry_out(plan: CleanPlan) -> int:
    """Remove what goes; return the bytes freed. What somebody began to train meanwhile stays, with a reason.

    Raises:
        OSError: a folder cannot be removed; what was removed before stays removed.
    """
    freed = 0
    for verdict in plan.verdicts:
        if not verdict.goes:
            continue
        with stage_lock(verdict.item.path) as free:
            if not free:
                verdict.goes, verdict.why = False, "is being trained"
                continue
            if plan.limits.keep_bundles and verdict.item.bundle_bytes:
                _strip(verdict.item.path)
            else:
                _remove(verdict.item.path)
            freed += verdict.frees_bytes
    return freed


def parse_size(text: str) -> int:
    """Read `5GB`, `1.5 TB`, `200MiB` or a number of bytes.

    Raises:
        UsageError: it is none of these.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?\s*", text, flags=re.IGNORECASE)
    if found is None:
        raise UsageError(f"--max-size: got {text!r}, expected a size such as 5GB, 500MB or 2GiB")
    return int(float(found[1]) * _UNITS[(found[2] or "").lower()])


def _newest(items: list[Item], keep: int) -> set[Path]:
    """The `keep` newest runs of each recipe; their names are times."""
    protected: set[Path] = set()
    for group in {item.group for item in items}:
        names = sorted(item.path for item in items if item.kind == "run" and item.group == group)
        protected |= set(names[max(0, len(names) - keep) :])
    return protected


def _stays(item: Item, items: list[Item], goes: dict[Path, str], protected: set[Path]) -> str:
    """Why an item must stay while those in `goes` go; empty if it may go."""
    if item.kept:
        return item.kept
    if item.path in protected:
        return "one of the newest"
    needed = (each for each in items if item.path in each.links and each.path not in goes)
    by = next(needed, None)
    return "" if by is None else f"{by.path.name} needs it"


def _picked(item: Item, limits: Limits, protected: set[Path], now_s: float) -> str:
    """Which of the limits picks an item, whatever protects it; empty if none does."""
    if item.kind == "leftover":
        return "left of an unfinished removal" if limits.any else ""
    if limits.older_than_days is not None:
        days = (now_s - item.modified_s) / DAY_SECONDS
        return f"older than {limits.older_than_days:g} days" if days > limits.older_than_days else ""
    if limits.keep is None or limits.max_size_bytes is not None:
        return ""
    if item.kind == "run" and item.path not in protected:
        return f"not among the newest {limits.keep}"
    # labels cost teachers' time and serve any later run, so age or size must ask for them
    return "no run needs it" if item.kind in ("stage", "teachers", "work") and item.finished else ""


def _rests(item: Item, limits: Limits) -> str:
    """Why an item that may go does not."""
    if not item.finished and item.kind in ("stage", "labels") and limits.keep is not None:
        return f"its {'training' if item.kind == 'stage' else 'making'} can go on"
    if item.kind == "labels" and limits.any:
        return "goes by age or size alone"
    return "within the limits" if limits.any else ""


def _shrink(items: list[Item], goes: dict[Path, str], protected: set[Path], limits: Limits) -> None:
    """Add the oldest that may go to `goes` until the rest fits."""
    assert limits.max_size_bytes is not None
    total = sum(item.size_bytes for item in items) - sum(
        _frees(item, limits) for item in items if item.path in goes
    )
    while total > limits.max_size_bytes:
        free = (
            item
            for item in items
            if item.path not in goes and _frees(item, limits) and not _stays(item, items, goes, protected)
        )
        oldest = next(free, None)
        if oldest is None:
            return
        goes[oldest.path] = "the oldest beyond the size limit"
        total -= _frees(oldest, limits)


def _frees(item: Item, limits: Limits) -> int:
    return item.size_bytes - (item.bundle_bytes if limits.keep_bundles else 0)


def _is_stripped(item: Item, limits: Limits) -> bool:
    """Whether nothing of a run is left but a bundle that is to be kept."""
    return limits.keep_bundles and item.bundle_bytes == item.size_bytes > 0


def _strip(run: Path) -> None:
    """Remove all of a run but its bundle."""
    for child in sorted(run.iterdir()):
        if child.name == "bundle":
            continue
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        else:
            child.unlink()


def _remove(folder: Path) -> None:
    """Remove a folder that no longer carries its name from the first moment on: half a run is no run."""
    doomed = folder
    if not folder.name.startswith(REMOVING):
        doomed = folder.with_name(f"{REMOVING}{folder.name}")
        folder.rename(doomed)
    shutil.rmtree(doomed)
