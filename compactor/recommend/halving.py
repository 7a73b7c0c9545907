"""How many settings are trained for how long: the rungs of successive halving, and who goes on."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from compactor_runtimes.errors import UsageError

KEPT = 3  # one of so many goes on, for so many times as long
LEAST_STEPS = 10  # below that a rung tells nothing


@dataclass(frozen=True)
class Rung:
    """So many settings, each trained anew for `steps` steps."""

    settings: int
    steps: int


def rungs(settings: int, budget_steps: int, *, full_steps: int, seeds: int = 1, least: int = 1) -> list[Rung]:
    """Share a budget out.

    1. A third of the settings (rounded up, at least `least`) goes on from each rung, until no more than
       `least` are left.
    2. The steps of a rung are three times those of the one before. The first has as many as the budget allows
       for all rungs together, each setting being trained once a seed and anew in every rung.
    3. No rung is longer than the recipe's own training, and none comes after one that is as long.

    Args:
        settings: how many are tried.
        budget_steps: optimiser steps of all trials together.
        full_steps: those of the recipe's own training.
        seeds: trainings of each setting in each rung.
        least: how many stay to the end.

    Raises:
        UsageError: the budget is too small to tell anything.
    """
    counts = [settings]
    while counts[-1] > least:
        counts.append(max(ceil(counts[-1] / KEPT), least))
    unit = seeds * sum(count * KEPT**number for number, count in enumerate(counts))
    first, shortest = budget_steps // unit, min(LEAST_STEPS, full_steps)
    if first < shortest:
        raise UsageError(
            f"recommend: a budget of {budget_steps:,} steps gives each of {settings} settings {first} steps "
            f"at first, expected at least {shortest}; allow {shortest * unit:,} steps, or name fewer "
            "--methods, --rates or --seeds"
        )
    found = []
    for number, count in enumerate(counts):
        found.append(Rung(count, min(first * KEPT**number, full_steps)))
        if found[-1].steps == full_steps:
            break
    return found


def total_steps(schedule: Sequence[Rung], *, seeds: int) -> int:
    """Optimiser steps of all trials of all rungs."""
    return seeds * sum(rung.settings * rung.steps for rung in schedule)


def survivors(values: Sequence[float | None], kept: int, *, protected: Sequence[Sequence[int]]) -> list[int]:
    """Which settings go on, in their order.

    The best of each protected group does (the setting of the recipe, the baseline), so that the last rung
    compares with them; the best of all others fill up. Of equal ones the first counts as better.

    Args:
        values: figure of each setting, higher is better; None = it failed, and does not go on.
        kept: how many go on.
        protected: positions of each group.
    """
    ranked = sorted(
        (place for place, value in enumerate(values) if value is not None),
        key=lambda place: -(values[place] or 0.0),
    )
    firsts = [next((place for place in ranked if place in group), None) for group in protected]
    chosen = {place for place in firsts if place is not None}
    for place in ranked:
        if len(chosen) >= kept:
            break
        chosen.add(place)
    return sorted(chosen)
