"""A figure: a number computed from runs, with its count, its interval and whose runs it rests on."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

Run = dict[str, Any]  # settings, result, and where, when and by which code it was made (`results_file.py`)


@dataclass(frozen=True)
class Figure:
    """A number with unit, count and 95% interval or range.

    `about` says what of, `goal` what was asked, `arms` whose runs it is computed from (all of the suite's
    where it is empty), `values` what each block of a timing gave.
    """

    value: float
    unit: str
    n: int
    low: float
    high: float
    about: str
    goal: str = ""
    arms: tuple[str, ...] = ()
    values: tuple[float, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data for a results file, without what is empty."""
        plain = asdict(self)
        plain["arms"], plain["values"] = list(self.arms), list(self.values)
        return {name: value for name, value in plain.items() if value not in ([], "") or name == "unit"}


def spread(
    values: Iterable[float], unit: str, about: str, goal: str = "", arms: tuple[str, ...] = ()
) -> Figure:
    """Median of repeated measurements, with their smallest and largest as range."""
    blocks = tuple(values)
    ordered = sorted(blocks)
    middle = len(ordered) // 2
    median = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    return Figure(median, unit, len(ordered), ordered[0], ordered[-1], about, goal, arms, blocks)
