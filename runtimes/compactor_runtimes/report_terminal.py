"""Draw a report in a terminal: truth, what each step lost, cost, gates. Reads well from 100 columns on."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from compactor_runtimes.percentiles import Percentile, format_ns

if TYPE_CHECKING:
    from compactor_runtimes.measure.records import Measurement
    from compactor_runtimes.report import AccuracyRow, PairedRow, Report

_VERDICT_STYLE = {"noise": "dim", "better": "green", "worse": "red"}
_VERDICT_WORDS = {"noise": "inside the noise", "better": "better", "worse": "worse"}
_NO_VALUE = "-"


def render_terminal(report: "Report") -> RenderableType:
    """Return a rich renderable: one table of truth, one of cost, and the verdict lines between and below."""
    parts: list[RenderableType] = [
        Text(f"{report.title}: {report.recipe}, {report.task}", style="bold"),
        Text(_machine(report.environment), style="dim"),
    ]
    if report.accuracy:
        parts += [Text(), _truth_table(report.accuracy)]
    if report.paired:
        parts += [Text(), Text("What each step changed, on the same samples", style="bold")]
        parts += [_paired_line(row) for row in report.paired]
    if report.measurements:
        parts += [Text(), _cost_table(report.measurements), *_invalid_lines(report.measurements)]
    if report.gates:
        parts += [Text(), Text("Gates", style="bold")]
        for gate in report.gates:
            parts.append(Text.assemble("  ", _passed(gate.passed), f" {gate.name}{_gate_numbers(gate)}"))
    refused = [artifact for artifact in report.artifacts if artifact.status != "verified"]
    parts += [Text(f"  artifact {one.name} {one.status}: {one.reason}", style="yellow") for one in refused]
    if report.recommendation:
        parts += [Text(), Text.assemble(("Recommendation: ", "bold"), report.recommendation)]
    return Group(*parts)


def _truth_table(rows: "list[AccuracyRow]") -> Table:
    table = _table(
        f"Truth on the {_unique(row.split for row in rows)} samples, against the teacher; shares in %"
    )
    headings = (
        f"{_unique(row.metric for row in rows)}\n[95% interval]",
        "agree-\nment",
        "KL\nnats",
        "\nECE",
        "para-\nmeters",
        "\nsize",
    )
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            Text.assemble(row.subject, (f"\n{row.kind}", "dim")),
            Text.assemble(
                (f"{100 * row.value:.2f}", "bold"),
                f" [{100 * row.low:.2f}, {100 * row.high:.2f}]",
                (f"\nn {row.n:,}", "dim"),
            ),
            _NO_VALUE if row.agreement_with_teacher is None else f"{100 * row.agreement_with_teacher:.2f}",
            _NO_VALUE if row.kl_to_teacher is None else f"{row.kl_to_teacher:.4f}",
            _NO_VALUE if row.ece is None else f"{100 * row.ece:.2f}",
            _NO_VALUE if row.parameters is None else _scaled(row.parameters, ""),
            _NO_VALUE if row.size_bytes is None else _scaled(row.size_bytes, "B"),
        )
    return table


def _paired_line(row: "PairedRow") -> Text:
    return Text.assemble(
        f"  {row.step}: {row.a} → {row.b}: ",
        (f"{row.difference_points:+.2f} points", "bold"),
        f" [{row.low:+.2f}, {row.high:+.2f}], n {row.n:,}, McNemar p {_p_value(row.mcnemar_p)}: ",
        (_VERDICT_WORDS[row.verdict], _VERDICT_STYLE[row.verdict]),
    )


def _cost_table(measurements: "list[Measurement]") -> Table:
    batch = _unique(str(one.batch) for one in measurements if one.scenario == "offline")
    threads = _unique(
        "each runtime's default" if one.threads is None else str(one.threads) for one in measurements
    )
    table = _table("Cost: medians; n samples; ≤ 99% upper bound of the percentile; * INVALID")
    table.caption = (
        "compute: the runtime call alone, one image · end-to-end: encoded image to label, one image · "
        + (f"offline: compute in batches of {batch} · " if batch else "")
        + "cold start: process start to first label · RSS: peak of the process, libraries included · "
        + f"threads: {threads}"
    )
    headings = (
        "\ncompute",
        "compute\np90",
        "compute\np99",
        "end-to-\nend",
        "offline\nimages/s",
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
        provider = warm[0].provider.removesuffix("ExecutionProvider")
        table.add_row(
            Text.assemble(subject, "\n", verdict, (f" {provider}", "dim")),
            _median(compute),
            _NO_VALUE if compute is None else _percentile(compute.percentile(0.9)),
            _NO_VALUE if compute is None else _percentile(compute.percentile(0.99)),
            _median(own.get(("end-to-end", "single-stream"))),
            _NO_VALUE
            if offline is None
            else _mark(f"{offline.images_per_s:,.0f}", offline, f"\nn {offline.n:,}"),
            _median(own.get(("cold-start", "once"))),
            _scaled(warm[0].rss_bytes, "B"),
        )
    return table


def _invalid_lines(measurements: "list[Measurement]") -> list[Text]:
    """One line for each reason, naming all the measurements that share it."""
    affected: dict[str, dict[str, list[str]]] = {}
    for one in measurements:
        what = one.scope if one.scenario == "once" else f"{one.scope} {one.scenario}"
        for reason in one.reasons:
            affected.setdefault(reason, {}).setdefault(one.subject, []).append(what)
    total = len(measurements)
    lines = []
    for reason, subjects in affected.items():
        if sum(len(whats) for whats in subjects.values()) == total:
            where = "all measurements"
        else:
            where = "; ".join(f"{subject}: {', '.join(whats)}" for subject, whats in subjects.items())
        lines.append(Text.assemble(("  INVALID ", "red"), f"{reason} ({where})"))
    return lines


def _median(one: "Measurement | None") -> str | Text:
    return _NO_VALUE if one is None else _mark(format_ns(one.median_ns), one, f"\nn {one.n:,}")


def _mark(value: str, one: "Measurement", below: str = "") -> Text:
    """Mark the number of an invalid measurement, so that nobody copies it unawares."""
    return Text.assemble(value if one.valid else (f"{value} *", "yellow"), (below, "dim"))


def _percentile(one: Percentile) -> Text:
    if one.value_ns is None:
        return Text.assemble("n/a", (f"\nneeds {one.needed:,}", "dim"))
    return Text.assemble(
        format_ns(one.value_ns), ("" if one.upper_ns is None else f"\n≤ {format_ns(one.upper_ns)}", "dim")
    )


def _machine(environment: dict[str, Any]) -> str:
    """One line of the environment: what a reader needs to compare numbers at all."""
    versions = environment.get("packages", {})
    known = [
        f"{name} {versions[name]}" for name in ("torch", "onnxruntime", "onnxruntime-gpu") if name in versions
    ]
    ram = environment.get("ram_bytes")
    parts = [
        environment.get("cpu"),
        environment.get("arch"),
        " ".join(environment.get("isa", [])),
        f"{environment.get('usable_cores', '?')} usable cores",
        f"{_scaled(ram, 'B')} RAM" if ram else "",
        *environment.get("gpus", []),
        environment.get("os"),
        environment.get("python"),
        *known,
    ]
    return ", ".join(str(part) for part in parts if part)


def _gate_numbers(gate: Any) -> str:
    numbers = [
        "" if gate.value is None else f"value {gate.value:.6g}",
        "" if gate.limit is None else f"limit {gate.limit:.6g}",
        "" if gate.n is None else f"n {gate.n:,}",
    ]
    shown = ", ".join(number for number in numbers if number)
    return (f": {shown}" if shown else "") + (f"; {gate.detail}" if gate.detail else "")


def _passed(passed: bool) -> tuple[str, str]:
    return ("passed", "green") if passed else ("FAILED", "red")


def _p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _scaled(value: float, unit: str) -> str:
    """Three digits with a decimal prefix: 272474 -> `272 k`, 1.27e9 B -> `1.27 GB`."""
    for scale, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * scale:
            scaled = value / scale
            return f"{scaled:.{2 if scaled < 9.995 else 1 if scaled < 99.95 else 0}f} {prefix}{unit}"
    return f"{value:.0f} {unit}".rstrip()


def _unique(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))


def _table(title: str) -> Table:
    """Start a table whose first column, the subject, is the one that gives way on a narrow terminal."""
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("\nsubject", min_width=10, overflow="fold")
    return table
