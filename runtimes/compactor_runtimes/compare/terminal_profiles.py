"""Draw a comparison of profiles in a terminal, a row for each figure of a subject; and gates of all kinds."""

from rich.console import Group, RenderableType
from rich.text import Text

from compactor_runtimes.compare.advice import change
from compactor_runtimes.compare.comparison import Comparison, Cost, Pair, Ratio, Side
from compactor_runtimes.compare.words import time_word, timed_words
from compactor_runtimes.report.draw.result_table import subject_table
from compactor_runtimes.report.format import NO_VALUE, VERDICT_WORDS
from compactor_runtimes.stats.percentiles import format_ns
from compactor_runtimes.units import scaled

STYLE = {"noise": "dim", "better": "green", "worse": "red"}
_OUTCOME_STYLE = {"passed": "green", "failed": "bold red", "undecided": "yellow"}


def render_profiles(comparison: Comparison) -> RenderableType:
    """Return a rich renderable that reads well from 80 columns on."""
    parts: list[RenderableType] = []
    for line in dict.fromkeys((side.letter, f"  {side.path}: {side.title}") for side in comparison.sides):
        parts.append(Text.assemble((line[0], "bold"), line[1]))
    for word, letter, found in dict.fromkeys(
        (word, side.letter, found)
        for side in comparison.sides
        for word, found in (("machine", side.other_machine), ("plan", side.other_plan))
        if found
    ):
        parts.append(Text(f"  {letter}: other {word}: {found}", style="yellow"))
    for pair in comparison.pairs:
        parts += [Text(), _pair_table(pair, comparison)]
    return Group(*parts, *closing_lines(comparison))


def closing_lines(comparison: Comparison) -> list[Text]:
    """The gates and the notes."""
    lines = [Text()]
    for one in comparison.gates:
        found = f": {one.change}" if one.change else ""
        lines.append(
            Text.assemble(
                ("gate ", "bold"),
                f"{one.gate.text} of {one.pair}{found}: ",
                (one.outcome.upper() if one.outcome != "passed" else "passed", _OUTCOME_STYLE[one.outcome]),
                (f" ({one.why})" if one.why else "", "dim"),
            )
        )
    if comparison.gates:
        lines.append(Text())
    return lines + [Text(f"note: {note}", style="dim") for note in comparison.notes]


def _pair_table(pair: Pair, comparison: Comparison) -> RenderableType:
    """One subject: what each file measured, and the ratio."""
    name_a, name_b = pair.subjects
    a, b = (
        next(side for side in comparison.sides if (side.letter, side.shipped) == key)
        for key in ((pair.a, name_a), (pair.b, name_b))
    )
    table = subject_table(name_a if name_a == name_b else f"{name_a} → {name_b}", "median time")
    for heading in (pair.a, pair.b, f"{pair.b} / {pair.a}", ""):
        table.add_column(heading, justify="right", no_wrap=True)
    times = {timed_words(one): one for one in pair.times}
    costs_a, costs_b = ({timed_words(cost): cost for cost in side.costs} for side in (a, b))
    for what in costs_a | costs_b:
        table.add_row(what, _time(costs_a.get(what)), _time(costs_b.get(what)), *_ratio(times.get(what)))
    table.add_row("peak RSS", _size(a.rss_bytes), _size(b.rss_bytes), _plain(pair.rss), "")
    table.add_row("size", _size(a.size_bytes), _size(b.size_bytes), _plain(pair.size), "")
    lines: list[RenderableType] = [table]
    for score, found in (
        ("accuracy", pair.difference),
        ("agreement with the teacher", pair.teacher_agreement),
    ):
        if found is not None:
            lines.append(
                Text.assemble(
                    f"  {score} {_score(a)} → {_score(b)}: {change(found, comparison.metric)}: ",
                    (VERDICT_WORDS[found.verdict], STYLE[found.verdict]),
                )
            )
    return Group(*lines)


def _time(cost: Cost | None) -> str:
    if cost is None:
        return NO_VALUE
    shown = f"{cost.rate_per_s:,.0f}/s" if cost.rate_per_s else format_ns(cost.median_ns)
    return shown + ("" if cost.valid else " *")


def _ratio(one: Ratio | None) -> tuple[str, Text]:
    if one is None:
        return NO_VALUE, Text()
    shown = f"× {one.value:.3f}\n[{one.low:.3f}, {one.high:.3f}]"
    return shown, Text(
        time_word(one).replace(", ", "\n"), style=STYLE[one.verdict] if one.valid else "yellow"
    )


def _size(size: int | None) -> str:
    return NO_VALUE if size is None else scaled(size, "B")


def _plain(ratio: float | None) -> str:
    return NO_VALUE if ratio is None else f"× {ratio:.3f}"


def _score(side: Side) -> str:
    return f"{100 * side.scores[-1].value:.2f}" if side.scores else NO_VALUE
