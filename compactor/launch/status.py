"""How far the work of orders is, read from what lies in their folders; nothing is asked of a launcher."""

from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.table import Table

from compactor.cache.claims import JOURNALS, Progress, progress_of
from compactor.label_store.header import read_header
from compactor.label_store.unfinished import header_file, jobs_of
from compactor.launch.hours import hours
from compactor.launch.order import (
    DIED,
    OK,
    ORDER,
    Order,
    read_order,
    read_outcome,
    read_stage_outcome,
    wish_to_stop,
)
from compactor_runtimes.errors import UsageError

SHOWN = 3  # failures in the table; all of them are in --json


@dataclass(frozen=True)
class Work:
    """An order and its state; `failed` says why workers ended with an error and stages were not trained."""

    order: Order
    progress: Progress
    failed: dict[str, str]

    @property
    def eta_s(self) -> float | None:
        """Seconds left at the median item's pace and with the workers that run now; None while unknown."""
        found = self.progress
        open_items = len(found.running) + len(found.left) + len(found.waiting)
        if not open_items:
            return 0.0
        if not found.seconds or not found.running:
            return None
        return open_items * median(found.seconds.values()) / len(found.running)

    def to_json(self) -> dict[str, Any]:
        """Plain data for --json."""
        found = self.progress
        return {
            "folder": self.order.folder,
            "kind": self.order.kind,
            "on": self.order.on,
            "done": len(found.done),
            "running": {str(number): who for number, who in found.running.items()},
            "left": {str(number): who for number, who in found.left.items()},
            "waiting": len(found.waiting),
            "failed": self.failed,
            "eta_s": self.eta_s,
            "spent_s": round(found.spent_s, 3),
        }


def work_below(folder: Path) -> list[Work]:
    """All orders in a folder and below it, in the order of their folders.

    Raises:
        UsageError: the folder does not exist.
    """
    if not folder.is_dir():
        raise UsageError(f"status: {folder} is no folder; give the folder of all runs, or one of a recipe's")
    return [_work(read_order(path)) for path in sorted(folder.rglob(f"{JOURNALS}/{ORDER}"))]


def stop_work(works: list[Work]) -> None:
    """Ask the workers of all orders that are not done to stop."""
    for one in works:
        if one.eta_s != 0:
            wish_to_stop(one.order.place)


def render_work(works: list[Work]) -> Table | str:
    """A table for the terminal."""
    if not works:
        return "no work that --on shares among workers"
    table = Table(title_justify="left")
    for heading in ("work", "on", "done", "running", "left over", "waiting", "time left", "spent", "failed"):
        table.add_column(heading, overflow="fold")
    for one in works:
        found, eta_s = one.progress, one.eta_s
        total = len(found.done) + len(found.running) + len(found.left) + len(found.waiting)
        said = [f"{name}: {why}" for name, why in list(one.failed.items())[-SHOWN:]]
        table.add_row(
            f"{one.order.kind} {Path(one.order.folder).name}",
            one.order.on,
            f"{len(found.done):,} of {total:,}",
            str(len(found.running)),
            str(len(found.left)),
            str(len(found.waiting)),
            "not known" if eta_s is None else hours(eta_s),
            f"{hours(found.spent_s)} of workers",
            "\n".join(said),
        )
    return table


def _work(order: Order) -> Work:
    folder = Path(order.folder)
    if order.kind == "stages":
        files = order.files()
    else:
        files = {one.number: folder / one.file for one in jobs_of(read_header(folder, header_file(folder)))}
    names = sorted(path.stem for path in order.place.glob("worker-*.json"))
    failed = {
        name: outcome.said
        for name in names
        if (outcome := read_outcome(order.place, name)).code not in (OK, DIED)
    }
    if order.kind == "stages":
        made = {number: read_stage_outcome(file) for number, file in files.items() if file.is_file()}
        failed |= {_name(order, number): one.problem for number, one in made.items() if one.problem}
    return Work(order, progress_of(folder, files), failed)


def _name(order: Order, number: int) -> str:
    """A stage's id; where recipes of several seeds share an order, also which of them."""
    item = order.items[number]
    return item.stage if len(order.recipes) < 2 else f"{item.stage} of recipe {item.recipe + 1}"
