"""The tables of cost: latencies with their licensed percentiles, throughput, start and memory."""

from typing import TYPE_CHECKING

from compactor_runtimes.report.decide.recommend import facts
from compactor_runtimes.report.decide.speed import TwoTimes, teacher_alike
from compactor_runtimes.report.draw.text_tables import INVALID, Cell, Table, number_cell, subject_cell
from compactor_runtimes.report.format import (
    NO_VALUE,
    invalid_reasons,
    overridden_notes,
    provider_words,
    runtime_name,
    times,
    unique,
)
from compactor_runtimes.stats.percentiles import format_ns
from compactor_runtimes.units import scaled

if TYPE_CHECKING:
    from compactor_runtimes.measure.measurement import Measurement
    from compactor_runtimes.report.contents import Report

PERCENTILES = (0.9, 0.95, 0.99, 0.999)


def latency_table(report: "Report") -> Table:
    """Medians and licensed percentiles of one sample (or one process start)."""
    headings = ["subject", "inside", "n", "median", "MAD", *(f"p{100 * q:g}" for q in PERCENTILES)]
    table = Table(headings, [], frozenset({0, 1}))
    teacher = facts(report).teacher
    for one in report.measurements:
        if one.scenario == "offline" or not one.n:
            continue
        spread = one.spread
        faster = ""
        if teacher is not None and one.scope == "compute":
            faster = _against(one, teacher_alike(report.measurements, teacher.subject, one))
        table.rows.append(
            [
                subject_cell(one.subject, report, "" if one.valid else INVALID),
                Cell(one.scope, runtime_name(one)),
                Cell(f"{one.n:,}", order=one.n),
                _measured(format_ns(spread.median_ns), one, faster, spread.median_ns),
                Cell(format_ns(spread.mad_ns), order=spread.mad_ns),
                *(_percentile(one, q) for q in PERCENTILES),
            ]
        )
    table.notes.append(
        "compute: the runtime call alone; end-to-end: raw input to answer; cold-start: process start to the "
        "first answer. MAD: median absolute deviation. A percentile is printed only with the samples that it "
        "needs; ≤ is its 99% upper bound. * marks INVALID. Times as fast: as the "
        "teacher in the same runtime, inside the noise where the block medians overlap."
    )
    table.notes.extend(f"{INVALID}: {one.line}" for one in invalid_reasons(report.measurements))
    table.notes.extend(overridden_notes(report))
    return table


def cost_table(report: "Report") -> Table:
    """Throughput, start and memory of each measured subject."""
    headings = [
        "subject",
        "offline samples/s",
        "end-to-end samples/s",
        "cold start",
        "load",
        "peak RSS",
        "PSS",
    ]
    table = Table([*headings, "provider"], [], frozenset({0, 7}))
    for subject in dict.fromkeys(one.subject for one in report.measurements):
        own = {(one.scope, one.scenario): one for one in report.measurements if one.subject == subject}
        cold = own.get(("cold-start", "once"))
        warm = next((one for one in own.values() if one.scope != "cold-start"), cold)
        assert warm is not None
        invalid = any(not one.valid for one in own.values())
        pss = warm.pss_bytes
        table.rows.append(
            [
                subject_cell(subject, report, INVALID if invalid else ""),
                _throughput(own.get(("compute", "offline"))),
                _throughput(own.get(("end-to-end", "offline"))),
                Cell(NO_VALUE, style="dim")
                if cold is None or not cold.n
                else _measured(format_ns(cold.median_ns), cold, f"n {cold.n:,}", cold.median_ns),
                Cell(format_ns(1e9 * warm.load_s), order=warm.load_s),
                Cell(scaled(warm.rss_bytes, "B"), order=warm.rss_bytes),
                number_cell(pss, scaled(pss or 0, "B")),
                Cell(provider_words(warm), warm.precision),
            ]
        )
    threads = unique(
        "each runtime's default" if one.threads is None else str(one.threads) for one in report.measurements
    )
    table.notes.append(
        "offline: compute in batches; load: opening the runtime, its libraries' import included; "
        f"RSS and PSS: of the whole process, libraries included. Threads: {threads}."
    )
    table.notes.extend(overridden_notes(report))
    return table


def _against(one: "Measurement", teacher: "Measurement | None") -> str:
    """How fast it is against the teacher in its own runtime; nothing is said where there is none."""
    if teacher is None or teacher is one:
        return ""
    ratio = TwoTimes(one, teacher).ratio
    if ratio.verdict == "noise":
        return f"{times(1 / ratio.value)}× as fast, inside the noise"
    return f"{times(1 / ratio.value)}× as fast as the teacher{'' if teacher.valid else ' *'}"


def _measured(text: str, one: "Measurement", note: str, order: float) -> Cell:
    """Mark the number of an invalid measurement, so that nobody copies it unawares."""
    return Cell(text, note, "strong", order) if one.valid else Cell(f"{text} *", INVALID, "warn", order)


def _throughput(one: "Measurement | None") -> Cell:
    if one is None or not one.n:
        return Cell(NO_VALUE, style="dim")
    rate = one.images_per_s
    return _measured(f"{rate:,.0f}", one, f"batch {one.batch}, n {one.n:,}", rate)


def _percentile(one: "Measurement", q: float) -> Cell:
    found = one.percentile(q)
    if found.value_ns is None:
        return Cell("n/a", f"needs {found.needed:,}", "dim")
    bound = "" if found.upper_ns is None else f"≤ {format_ns(found.upper_ns)}"
    text = format_ns(found.value_ns)
    if not one.valid:
        return Cell(f"{text} *", bound, "warn", found.value_ns)
    return Cell(text, bound, order=found.value_ns)
