"""Draw a comparison in a terminal: who is who, accuracy, each pair against the first, cost, advice."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from compactor_runtimes.compare.advice import change
from compactor_runtimes.compare.comparison import Comparison, Cost, Pair, Side
from compactor_runtimes.compare.terminal_profiles import STYLE, closing_lines, render_profiles
from compactor_runtimes.compare.words import time_word, timed_words
from compactor_runtimes.report.draw.result_table import result_table
from compactor_runtimes.report.format import NO_VALUE, RANK_CORRELATION, VERDICT_WORDS, p_value
from compactor_runtimes.stats.percentiles import format_ns
from compactor_runtimes.units import scaled


def render_comparison(comparison: Comparison) -> RenderableType:
    """Return a rich renderable that reads well from 80 columns on."""
    if not comparison.samples:
        return render_profiles(comparison)
    sides = comparison.sides
    parts: list[RenderableType] = [
        Text(f"{comparison.task} on the same report samples ({comparison.samples[:12]})", style="bold")
    ]
    for side in sides:
        seeds = f", {side.runs} seeds" if side.runs > 1 else ""
        where = f", measured in {side.runtime}" if side.runtime else ""
        parts.append(Text.assemble((side.letter, "bold"), f"  {side.path}: {side.title}{seeds}{where}"))
    parts += [Text(), _accuracy_table(comparison), Text(), _cost_table(sides)]
    for side in sides:
        for word, difference in (("machine", side.other_machine), ("plan", side.other_plan)):
            if difference:
                parts.append(Text(f"  {side.letter}: other {word}: {difference}", style="yellow"))
    for pair in comparison.pairs:
        parts += [Text(), *_pair_lines(pair, comparison.metric)]
    return Group(*parts, *closing_lines(comparison))


def _accuracy_table(comparison: Comparison) -> Table:
    correlation = comparison.metric == RANK_CORRELATION

    def written(value: float) -> str:
        return f"{value:.4f}" if correlation else f"{100 * value:.2f}"

    table = _table(f"{comparison.metric}{'' if correlation else ' in %'} [95% interval]")
    for kind in ("teacher", "student", "shipped"):
        table.add_column(kind, justify="right", no_wrap=True)
    for side in comparison.sides:
        cells: list[Text | str] = []
        for kind in ("teacher", "student", "artifact"):
            score = next((score for score in side.scores if score.kind == kind), None)
            if score is None:
                cells.append(NO_VALUE)
                continue
            below = f"\nn {score.n:,}"
            if side.runs > 1:
                below = f"\nseeds {written(score.seed_low)} to {written(score.seed_high)}{below}"
            interval = f"\n[{written(score.low)}, {written(score.high)}]"
            cells.append(Text.assemble((written(score.value), "bold"), interval, (below, "dim")))
        table.add_row(Text.assemble((side.letter, "bold"), f"\n{side.shipped}"), *cells)
    return table


def _cost_table(sides: list[Side]) -> Table:
    table = _table("Cost of what is shipped: median of block medians [lowest, highest]; * INVALID")
    for side in sides:
        marks = [
            word
            for word, differs in (("other machine", side.other_machine), ("other plan", side.other_plan))
            if differs
        ]
        heading = Text.assemble(side.letter, *((f"\n{mark}", "yellow") for mark in marks))
        table.add_column(heading, justify="right", no_wrap=True)
    names = dict.fromkeys((cost.scope, cost.scenario, cost.batch) for side in sides for cost in side.costs)
    for name in names:
        own = [
            next((cost for cost in side.costs if (cost.scope, cost.scenario, cost.batch) == name), None)
            for side in sides
        ]
        scope, scenario, batch = name
        table.add_row(scope + (f"\nbatch of {batch}" if scenario == "offline" else ""), *map(_cost, own))
    table.add_row("peak RSS", *(_size(side.rss_bytes) for side in sides))
    table.add_row("size", *(_size(side.size_bytes) for side in sides))
    return table


def _cost(cost: Cost | None) -> Text | str:
    if cost is None:
        return NO_VALUE
    shown = format_ns(cost.median_ns)
    return Text.assemble(
        shown if cost.valid else (f"{shown} *", "yellow"),
        (f"\n[{format_ns(min(cost.blocks_ns))}, {format_ns(max(cost.blocks_ns))}]\nn {cost.n:,}", "dim"),
    )


def _size(size: int | None) -> str:
    return NO_VALUE if size is None else scaled(size, "B")


def _pair_lines(pair: Pair, metric: str) -> list[Text]:
    lines = [Text(f"{pair.a} → {pair.b}", style="bold")]
    difference = pair.difference
    if difference is not None:
        how = "" if difference.paired else ", not paired"
        test = difference.mcnemar
        if test is not None:
            how += f", only {pair.a} right {test.b:,}, only {pair.b} right {test.c:,}"
            how += f", McNemar p {p_value(test.p)}"
        lines.append(
            Text.assemble(
                f"  {'paired ' if difference.paired else ''}difference: ",
                change(difference, metric),
                f", n {difference.n:,}{how}: ",
                (VERDICT_WORDS[difference.verdict], STYLE[difference.verdict]),
            )
        )
    if pair.teacher_agreement is not None and difference is None:
        gained = pair.teacher_agreement
        lines.append(
            Text.assemble(
                f"  agreement with the teacher: {change(gained, metric)}, n {gained.n:,}: ",
                (VERDICT_WORDS[gained.verdict], STYLE[gained.verdict]),
            )
        )
    if pair.agreement is not None:
        lines.append(Text(f"  agreement between the two: {100 * pair.agreement:.2f}%"))
    for one in pair.times:
        lines.append(
            Text.assemble(
                f"  {timed_words(one)} time: ",
                (f"× {one.value:.3f}", "bold"),
                f" [{one.low:.3f}, {one.high:.3f}]: ",
                (time_word(one), STYLE[one.verdict] if one.valid else "yellow"),
                "" if one.runtimes[0] == one.runtimes[1] else f", {' against '.join(one.runtimes)}",
            )
        )
    if pair.rss is not None:
        lines.append(Text(f"  peak RSS: × {pair.rss:.3f}"))
    if pair.size is not None:
        lines.append(Text(f"  size: × {pair.size:.3f}"))
    lines.append(Text.assemble(("  Recommendation: ", "bold"), pair.recommendation))
    return lines


def _table(title: str) -> Table:
    table = result_table(title)
    table.add_column("", min_width=8, overflow="fold")
    return table
