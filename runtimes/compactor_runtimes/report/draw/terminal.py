"""Draw a report in a terminal: truth, what each step lost, cost, gates. Reads well from 100 columns on."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from compactor_runtimes.report.draw.labels import labels_table
from compactor_runtimes.report.draw.rejects import rejects_table
from compactor_runtimes.report.draw.result_table import subject_table
from compactor_runtimes.report.draw.scores import scores_table
from compactor_runtimes.report.draw.terminal_variants import STYLES, render_variants
from compactor_runtimes.report.format import (
    NO_VALUE,
    OVERRIDDEN,
    RANK_CORRELATION,
    VERDICT_WORDS,
    agreement_words,
    change,
    change_interval,
    gate_numbers,
    interval,
    invalid_reasons,
    machine,
    marked,
    overridden,
    p_value,
    provider_words,
    share,
    unique,
)
from compactor_runtimes.stats.percentiles import Percentile, format_ns
from compactor_runtimes.units import scaled

if TYPE_CHECKING:
    from compactor_runtimes.measure.measurement import Measurement
    from compactor_runtimes.report.contents import PairedRow, Report
    from compactor_runtimes.report.draw.text_tables import Table as Cells

MOST_LABELS = 20
_VERDICT_STYLE = {"noise": "dim", "better": "green", "worse": "red"}


def render_terminal(report: "Report") -> RenderableType:
    """Return a rich renderable: one table of truth, one of cost, and the verdict lines between and below."""
    parts: list[RenderableType] = [
        Text(f"{report.title}: {report.recipe}, {report.task}", style="bold"),
        Text(machine(report.environment), style="dim"),
    ]
    if report.accuracy:
        parts += [Text(), _truth_table(report)]
    if report.scores:
        parts += [Text(), _score_table(report)]
    if report.labels:
        parts += [Text(), _label_table(report)]
    if report.rejects:
        parts += [Text(), _reject_table(report)]
    if report.paired:
        parts += [Text(), Text("What each step changed, on the same samples", style="bold")]
        parts += [_paired_line(row, report) for row in report.paired]
    if report.artifacts:
        parts += [Text(), *render_variants(report)]
    if report.measurements:
        parts += [
            Text(),
            _cost_table(report),
            *(Text.assemble(("  INVALID ", "red"), one.line) for one in invalid_reasons(report.measurements)),
        ]
    return Group(*parts, *_verdicts(report))


def _verdicts(report: "Report") -> Iterator[Text]:
    """What the gates said, how the inputs were read, and what is recommended."""
    if report.gates:
        yield from (Text(), Text("Gates", style="bold"))
        for gate in report.gates:
            yield Text.assemble("  ", _passed(gate.passed), f" {gate.name}{gate_numbers(gate)}")
    if report.notes:
        yield from (Text(), Text("Inputs", style="bold"), *(Text(f"  {note}") for note in report.notes))
    if report.recommendation:
        yield from (Text(), Text.assemble(("Recommendation: ", "bold"), report.recommendation))


def _truth_table(report: "Report") -> Table:
    rows = report.accuracy
    shares = "" if all(row.metric == RANK_CORRELATION for row in rows) else "; shares in %"
    table = _table(f"Truth on the {unique(row.split for row in rows)} samples, against the teacher{shares}")
    headings = (
        f"{unique(row.metric for row in rows)}\n[95% interval]",
        {"agreement": "agree-\nment", "mean cosine": "mean\ncosine"}[agreement_words(rows)],
        "KL\nnats",
        "\nECE",
        "para-\nmeters",
        "\nsize",
    )
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        f1 = "" if row.macro_f1 is None else f"macro-F1 {100 * row.macro_f1:.2f}, "
        f1 += "" if row.micro_f1 is None else f"micro-F1 {100 * row.micro_f1:.2f}, "
        table.add_row(
            Text.assemble(row.subject, (f"\n{row.kind}", "dim"), _overridden(row.subject, report)),
            Text.assemble(
                (share(row.value, row), "bold"), f" {interval(row)}", (f"\n{f1}n {row.n:,}", "dim")
            ),
            NO_VALUE if row.agreement_with_teacher is None else share(row.agreement_with_teacher, row),
            NO_VALUE if row.kl_to_teacher is None else f"{row.kl_to_teacher:.4f}",
            NO_VALUE if row.ece is None else f"{100 * row.ece:.2f}",
            NO_VALUE if row.parameters is None else scaled(row.parameters, ""),
            NO_VALUE if row.size_bytes is None else scaled(row.size_bytes, "B"),
        )
    return table


def _score_table(report: "Report") -> Table:
    title = "Intent and slots, text by text; error change against the teacher's, negative is better"
    return _as_drawn(scores_table(report), title, report)


def _label_table(report: "Report") -> Table:
    """The labels that the shipped subject finds least; the pages have all of everyone's."""
    drawn = labels_table(report, alone=True)
    table = subject_table(
        f"Labels of {report.shipped}, those found least first{_more(len(drawn.rows))}", "label"
    )
    table.caption = "AP: average precision · from: the probability from which on it is answered"
    for heading in drawn.headings[1:]:
        table.add_column(heading.partition(" ")[0], justify="right", no_wrap=True)
    for label, *numbers in drawn.rows[:MOST_LABELS]:
        table.add_row(label.text, *(cell.text for cell in numbers))
    return table


def _more(labels: int) -> str:
    return f": {MOST_LABELS} of {labels}" if labels > MOST_LABELS else ""


def _reject_table(report: "Report") -> Table:
    return _as_drawn(rejects_table(report), "Rejected answers; shares with their 95% intervals", report)


def _as_drawn(drawn: "Cells", title: str, report: "Report") -> Table:
    """A table of subjects as the pages have it: the remark of a cell below it, the first note as caption."""
    table = _table(title)
    table.caption = drawn.notes[0]
    for heading in drawn.headings[1:]:
        table.add_column(
            heading.replace("[95%]", "").strip().replace(" ", "\n"), justify="right", no_wrap=True
        )
    for subject, *numbers in drawn.rows:
        name = Text.assemble(subject.text, (f"\n{subject.note.split(',')[0]}", "dim"))
        table.add_row(
            name + Text.assemble(_overridden(subject.text, report)),
            *(Text.assemble((cell.text, STYLES[cell.style]), (_below(cell.note), "dim")) for cell in numbers),
        )
    return table


def _below(note: str) -> str:
    """A remark on the lines below a number, the count on one of its own."""
    return "\n" + note.replace("] n ", "]\nn ") if note else ""


def _paired_line(row: "PairedRow", report: "Report") -> Text:
    return Text.assemble(
        f"  {row.step}: {row.a} → {marked(row.b, report)}: ",
        (change(row), "bold"),
        f" {change_interval(row)}, n {row.n:,}"
        + ("" if row.mcnemar_p is None else f", McNemar p {p_value(row.mcnemar_p)}")
        + ": ",
        (VERDICT_WORDS[row.verdict], _VERDICT_STYLE[row.verdict]),
    )


def _cost_table(report: "Report") -> Table:
    measurements = report.measurements
    batch = unique(str(one.batch) for one in measurements if one.scenario == "offline")
    threads = unique(
        "each runtime's default" if one.threads is None else str(one.threads) for one in measurements
    )
    table = _table("Cost: medians; n samples; ≤ 99% upper bound of the percentile; * INVALID")
    table.caption = (
        "compute: the runtime call alone, one sample · end-to-end: raw input to answer, one sample · "
        + (f"offline: compute in batches of {batch} · " if batch else "")
        + "cold start: process start to first answer · RSS: peak of the process, libraries included · "
        + f"threads: {threads}"
    )
    headings = (
        "\ncompute",
        "compute\np90",
        "compute\np99",
        "end-to-\nend",
        "offline\nsamples/s",
        "cold\nstart",
    )
    for heading in (*headings, "peak\nRSS"):
        table.add_column(heading, justify="right", no_wrap=True)
    for subject in dict.fromkeys(one.subject for one in measurements):
        own = {(one.scope, one.scenario): one for one in measurements if one.subject == subject}
        compute, offline = own.get(("compute", "single-stream")), own.get(("compute", "offline"))
        warm = [one for one in own.values() if one.scope != "cold-start"] or list(own.values())
        valid = all(one.valid for one in own.values())
        verdict = ("VALID", "green") if valid else ("INVALID", "red")
        table.add_row(
            Text.assemble(
                subject, "\n", verdict, (f" {provider_words(warm[0])}", "dim"), _overridden(subject, report)
            ),
            _median(compute),
            NO_VALUE if compute is None else _percentile(compute.percentile(0.9)),
            NO_VALUE if compute is None else _percentile(compute.percentile(0.99)),
            _median(own.get(("end-to-end", "single-stream"))),
            NO_VALUE
            if offline is None
            else _mark(f"{offline.images_per_s:,.0f}", offline, f"\nn {offline.n:,}"),
            _median(own.get(("cold-start", "once"))),
            scaled(warm[0].rss_bytes, "B"),
        )
    return table


def _median(one: "Measurement | None") -> str | Text:
    return NO_VALUE if one is None else _mark(format_ns(one.median_ns), one, f"\nn {one.n:,}")


def _mark(value: str, one: "Measurement", below: str = "") -> Text:
    """Mark the number of an invalid measurement, so that nobody copies it unawares."""
    return Text.assemble(value if one.valid else (f"{value} *", "yellow"), (below, "dim"))


def _percentile(one: Percentile) -> Text:
    if one.value_ns is None:
        return Text.assemble("n/a", (f"\nneeds {one.needed:,}", "dim"))
    return Text.assemble(
        format_ns(one.value_ns), ("" if one.upper_ns is None else f"\n≤ {format_ns(one.upper_ns)}", "dim")
    )


def _overridden(subject: str, report: "Report") -> tuple[str, str]:
    return (f"\n{OVERRIDDEN}" if subject in overridden(report) else "", "red")


def _passed(passed: bool) -> tuple[str, str]:
    return ("passed", "green") if passed else ("FAILED", "red")


def _table(title: str) -> Table:
    return subject_table(title, "\nsubject")
