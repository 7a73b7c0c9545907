"""How far an unfinished store has come, and how to go on with it."""

from pathlib import Path

from compactor.label_store.header import STORE_FILE, UNFINISHED_FILE, Header, read_header
from compactor.label_store.write import Job
from compactor_runtimes.errors import IntegrityError, UsageError

MOST_NAMED = 6  # runs of shards, or shares, that a message names
MOST_SHARES = 64


def header_file(folder: Path) -> str:
    """Name of the file that says what the store is or will be.

    Raises:
        UsageError: the folder holds no store.
    """
    for name in (STORE_FILE, UNFINISHED_FILE):
        if (folder / name).is_file():
            return name
    found = "holds neither store.json nor unfinished.json" if folder.is_dir() else "is no folder"
    raise UsageError(
        f"label store {folder}: {found}; give a folder that `compactor label` made, as in runs/NAME/labels/*"
    )


def require_finished(folder: Path) -> None:
    """Refuse a store that is not whole yet.

    Raises:
        UsageError: the folder holds no store.
        IntegrityError: not finished; says how many shards are there.
    """
    if header_file(folder) == STORE_FILE:
        return
    jobs = jobs_of(read_header(folder, UNFINISHED_FILE))
    missing = missing_jobs(folder, jobs)
    raise IntegrityError(
        f"label store {folder}: is not finished, {len(jobs) - len(missing):,} of {len(jobs):,} shards are "
        f"there (missing: {name_shards(missing)}); run the same `compactor label` again, it goes on where it "
        "was, or bring shares of other machines together with `compactor store merge`"
    )


def jobs_of(header: Header) -> list[Job]:
    """All shards of a store, numbered as the shares of `compactor label` count them."""
    jobs: list[Job] = []
    for part in header.parts:
        for first in range(0, part.rows, part.shard_rows):
            jobs.append(Job(len(jobs), part, first, min(part.shard_rows, part.rows - first)))
    return jobs


def missing_jobs(folder: Path, jobs: list[Job]) -> list[Job]:
    """Those shards that are not in the folder."""
    return [job for job in jobs if not (folder / job.file).is_file()]


def name_shards(jobs: list[Job]) -> str:
    """Say which shards these are: `train 0-3, train 7, report 0`."""
    runs: list[tuple[str, int, int]] = []
    for job in jobs:
        split, number = job.part.split, job.first // job.part.shard_rows
        if runs and runs[-1][0] == split and runs[-1][2] == number - 1:
            runs[-1] = (split, runs[-1][1], number)
        else:
            runs.append((split, number, number))
    named = [f"{split} {first}" + (f"-{last}" if last > first else "") for split, first, last in runs]
    more = len(named) - MOST_NAMED
    return ", ".join(named[:MOST_NAMED]) + (f" and {more} more runs" if more > 0 else "")


def shares_of(missing: list[Job], shards: int) -> list[str]:
    """The fewest shares I/N of `compactor label --share` that make just the missing of all `shards`.

    Empty if no split into at most 64 shares leaves at most 6 to make.
    """
    numbers = {job.number for job in missing}
    for n in range(2, min(MOST_SHARES, shards) + 1):
        shares = sorted({number % n for number in numbers})
        made = {number for number in range(shards) if number % n in shares}
        if made == numbers and len(shares) <= MOST_NAMED:
            return [f"{share + 1}/{n}" for share in shares]
    return []
