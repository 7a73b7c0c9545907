"""A recommendation and its cost in words."""

from rich.table import Table
from rich.text import Text

from compactor.recommend.halving import Rung
from compactor.recommend.prepare import Prepared
from compactor.recommend.result import Recommendation, Row

SHARES = ("accuracy", "agreement")  # figures that are shown in percent
OPTIMISTIC = (
    "what is chosen on select looks better there than it is, the more so the more was tried: the report "
    "split, which nothing here has read, tells after a full run"
)


def cost_lines(prepared: Prepared) -> list[str]:
    """What will be done, and what it costs."""
    cost, seeds = prepared.cost, len(prepared.seeds)
    plan = ", ".join(_rung(one) for one in prepared.schedule)
    each = f", each with {seeds} seeds" if seeds > 1 else ""
    lines = [
        f"tries {len(prepared.choice.trials)} settings: {plan}{each}",
        f"every rung trains anew, with the whole schedule in its steps: {cost.trial_steps:,} steps in all"
        + _seconds(cost.trial_s),
    ]
    if cost.before_steps or cost.before_s:
        lines.append(
            f"before that, what the settings rest on and a run would need too: {cost.before_steps:,} steps"
            + _seconds(cost.before_s)
        )
    if prepared.has_begun:
        lines.append("it goes on where it was; what is trained already is reused")
    return lines + [f"left out: {one}" for one in prepared.choice.left_out]


def render(found: Recommendation) -> Table:
    """One line a setting, the longest trained first; differences are to the best of the same rung."""
    seeds = f", seeds {', '.join(map(str, found.seeds))} averaged" if found.seeds else ""
    table = Table(title=f"{found.recipe}: tried on select{seeds}", title_justify="left")
    table.add_column("setting", overflow="fold")
    for column in ("steps", f"{found.figure} (95%)", "n", "minus the best of its rung (95%)"):
        table.add_column(column, justify="right", overflow="fold")
    table.add_column("verdict", overflow="fold")
    for row in found.rows:
        style = "bold" if row is found.winner else ""
        table.add_row(
            Text(row.name + _role(row), style),
            f"{row.steps:,}",
            _value(found.figure, row),
            f"{row.n:,}",
            _difference(row),
            verdict(found, row),
        )
    return table


def conclusion(found: Recommendation) -> list[str]:
    """The winner, what the noise says of it, and that select flatters it."""
    winner = found.winner
    lines = [f"recommended: {winner.name}{_role(winner)}"]
    last = [row for row in found.rows if row.rung == winner.rung and row is not winner]
    noise = [row for row in last if row.verdict == "noise"]
    if noise:
        names = "; ".join(row.name + _role(row) for row in noise)
        lines.append(f"inside the noise of it, on {winner.n:,} samples: {names}")
    if any(row.is_own for row in noise):
        lines.append("so nothing speaks against the recipe as it is")
    if winner.steps < found.full_steps:
        lines.append(
            f"it had {winner.steps:,} of the recipe's {found.full_steps:,} steps: in full length the order "
            "may be another"
        )
    return [*lines, OPTIMISTIC]


def verdict(found: Recommendation, row: Row) -> str:
    """In words."""
    if row is found.winner:
        return "recommended"
    if row.value is not None and row.difference is None and row.low is not None:
        return "best of its rung"
    words = {"noise": "inside the noise", "failed": "does not train", "not told": "no paired test"}
    return words.get(row.verdict, row.verdict)


def _rung(rung: Rung) -> str:
    return f"{rung.settings} for {rung.steps:,} steps"


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return ", for how long is not known: a bundle: teacher is not timed"
    return (
        f", about {seconds / 60:.1f} minutes" if seconds >= 90 else f", about {max(seconds, 1):.0f} seconds"
    )


def _role(row: Row) -> str:
    if row.is_own:
        return "  <- as in the recipe"
    return "  <- baseline" if row.is_baseline else ""


def _value(figure: str, row: Row) -> str:
    if row.value is None:
        return "-"
    if figure not in SHARES:
        return f"{row.value:.4f}"
    interval = f" ({100 * row.low:.1f} to {100 * row.high:.1f})" if row.low is not None and row.high else ""
    return f"{100 * row.value:.1f}%{interval}"


def _difference(row: Row) -> str:
    found = row.difference
    return "" if found is None else f"{found.points:+.2f} ({found.low:+.2f} to {found.high:+.2f})"
