"""The tables of a profile: its subjects, what its sweep found, its server scenario, machines side by side."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from compactor_runtimes.report.draw.anatomy_figures import precisions
from compactor_runtimes.report.draw.text_tables import INVALID, Cell, Style, Table
from compactor_runtimes.report.format import NO_VALUE
from compactor_runtimes.stats.percentiles import format_ns
from compactor_runtimes.units import scaled

if TYPE_CHECKING:
    from compactor_runtimes.measure.machine_profile import MachineProfile, ProfileSubject
    from compactor_runtimes.measure.measurement import Measurement

NOT_AVAILABLE = "not available"


def measured_of(profile: "MachineProfile", subject: str) -> "list[Measurement]":
    """Measurements of one subject."""
    return [one for one in profile.measurements if one.subject == subject and one.n]


def pick(found: "Sequence[Measurement]", scope: str, scenario: str) -> "Measurement | None":
    """The first of a scope and scenario."""
    return next((one for one in found if (one.scope, one.scenario) == (scope, scenario)), None)


def subjects_table(profile: "MachineProfile") -> Table:
    """What each subject costs; one that was not run says why."""
    headings = ["subject", "golden cases", "median", "p90", "p99", "end to end", "samples/s", "start"]
    table = Table([*headings, "peak RSS", "CPU a query", "energy a query", "size"], [], frozenset({0, 1}))
    anatomies = {one.subject: one for one in profile.anatomies}
    for row in profile.subjects:
        found = measured_of(profile, row.name)
        single, warm = pick(found, "compute", "single-stream"), next(iter(found), None)
        ran = precisions(anatomies[row.name]) if row.name in anatomies else ""
        who = "recommended" if row.name == profile.recommendation.subject else ran and f"ran in {ran}"
        offline = [one for one in found if (one.scope, one.scenario) == ("compute", "offline")]
        best = max(offline, key=lambda one: one.images_per_s, default=None)
        table.rows.append(
            [
                Cell(row.name, f"{who}, ran in {ran}" if who == "recommended" and ran else who),
                golden_cell(row),
                _median(single),
                *(_percentile(single, q) for q in (0.9, 0.99)),
                _median(pick(found, "end-to-end", "single-stream")),
                _throughput(best, "" if best is None else f"batch {best.batch}"),
                _median(pick(found, "cold-start", "once")),
                Cell(
                    NO_VALUE if warm is None else scaled(warm.rss_bytes, "B"),
                    "" if warm is None or warm.pss_bytes is None else f"PSS {scaled(warm.pss_bytes, 'B')}",
                ),
                _cpu(single),
                _energy(single),
                Cell(scaled(row.size_bytes, "B"), order=row.size_bytes),
            ]
        )
        if row.not_run:
            table.notes.append(f"{row.name} was not measured: {row.not_run}")
    table.notes.insert(
        0,
        "median, p90, p99: compute of one sample; end to end: raw input to answer; samples/s: compute in the "
        "batch that gave most; start: process start to first answer. A percentile is printed only with the "
        "samples that it needs; ≤ is its 99% upper bound. CPU: of all threads, the driver of the load "
        f"included. * marks {INVALID}.",
    )
    return table


def sweep_table(profile: "MachineProfile") -> Table | None:
    """Every setting that was tried: time of one sample, samples a second by batch."""
    batches = sorted({one.batch for one in profile.measurements if one.scenario == "offline"})
    if not profile.sweep:
        return None
    headings = [
        "subject",
        "threads",
        "spinning",
        "one sample",
        *(f"batch {batch}, samples/s" for batch in batches),
    ]
    table = Table(headings, [], frozenset({0, 1, 2}))
    for row in profile.subjects:
        found = measured_of(profile, row.name)
        if not found:
            continue
        offline = {one.batch: one for one in found if (one.scope, one.scenario) == ("compute", "offline")}
        table.rows.append(
            [
                Cell(f"{row.artifact} @ {row.runtime}"),
                Cell("its own choice" if row.threads is None else str(row.threads)),
                Cell(NO_VALUE if row.spinning is None else "on" if row.spinning else "off"),
                _median(pick(found, "compute", "single-stream")),
                *(
                    _throughput(one, "" if one is None else f"n {one.n:,}")
                    for one in (offline.get(batch) for batch in batches)
                ),
            ]
        )
    return table


def server_table(profile: "MachineProfile") -> Table | None:
    """The highest rate of random arrivals of each subject that held the bound."""
    found = [one for one in profile.measurements if one.scenario == "server"]
    if not found:
        return None
    table = Table(
        ["subject", "inside", "bound", "queries a second", "percentile", "n"], [], frozenset({0, 1, 2})
    )
    for one in found:
        bound = one.bound
        said = NO_VALUE if bound is None else f"p{100 * bound.q:g} within {format_ns(bound.ns)}"
        table.rows.append(
            [
                Cell(one.subject),
                Cell(one.scope),
                Cell(said),
                Cell("none", style="warn")
                if one.rate_per_s is None
                else _number(f"{one.rate_per_s:,.4g}", one, ""),
                Cell(NO_VALUE) if bound is None else _percentile(one, bound.q),
                Cell(f"{one.n:,}"),
            ]
        )
        table.notes.extend(f"{one.subject}: {reason}" for reason in one.reasons)
    table.notes.insert(
        0,
        "Queries arrive at random moments and one thread answers them; the highest rate at which the 99% "
        "upper bound of the percentile lies within the bound.",
    )
    return table


def machines_table(profiles: "Sequence[MachineProfile]", names: Sequence[str]) -> Table:
    """Each subject on every machine: one sample's time, samples a second, memory; nothing is divided."""
    table = Table(["subject", *names], [], frozenset({0}))
    subjects = list(dict.fromkeys(row.name for profile in profiles for row in profile.subjects))
    for subject in subjects:
        cells = [Cell(subject)]
        for profile in profiles:
            found = measured_of(profile, subject)
            single, offline = pick(found, "compute", "single-stream"), pick(found, "compute", "offline")
            if single is None:
                row = next((one for one in profile.subjects if one.name == subject), None)
                cells.append(
                    Cell(NO_VALUE, "not asked for" if row is None else row.not_run or "not measured")
                )
                continue
            parts = (
                []
                if offline is None
                else [
                    f"{offline.images_per_s:,.0f}/s{'' if offline.valid else ' *'} "
                    f"in batches of {offline.batch}"
                ]
            )
            parts += [_memory(single), f"n {single.n:,}"]
            parts += ["recommended there"] if profile.recommendation.subject == subject else []
            cells.append(_number(format_ns(single.median_ns), single, ", ".join(parts)))
        table.rows.append(cells)
    table.notes.append(
        "Median compute of one sample; below it throughput, memory and count. Machines were measured at "
        f"different times: nothing is divided across them. * marks {INVALID}."
    )
    return table


def golden_cell(row: "ProfileSubject") -> Cell:
    """What the golden cases gave here; cases that were not run have not passed."""
    if not row.golden:
        return Cell("not run", style="dim")
    failed = [check for check in row.golden if not check.passed]
    if failed:
        return Cell("FAILED", failed[0].name, "bad")
    return Cell("passed", f"{len(row.golden)} checks", "good")


def _median(one: "Measurement | None") -> Cell:
    if one is None:
        return Cell(NO_VALUE, style="dim")
    return _number(format_ns(one.median_ns), one, f"n {one.n:,}", order=one.median_ns)


def _percentile(one: "Measurement | None", q: float) -> Cell:
    if one is None:
        return Cell(NO_VALUE, style="dim")
    found = one.percentile(q)
    if found.value_ns is None:
        return Cell("n/a", f"needs {found.needed:,}", "dim")
    bound = "" if found.upper_ns is None else f"≤ {format_ns(found.upper_ns)}"
    return _number(format_ns(found.value_ns), one, bound, order=found.value_ns)


def _throughput(one: "Measurement | None", note: str) -> Cell:
    if one is None:
        return Cell(NO_VALUE, style="dim")
    return _number(f"{one.images_per_s:,.0f}", one, note, order=one.images_per_s)


def _memory(one: "Measurement") -> str:
    """PSS, or the peak of RSS where the kernel does not tell: which of them is said."""
    if one.pss_bytes is None:
        return f"peak RSS {scaled(one.rss_bytes, 'B')}"
    return f"PSS {scaled(one.pss_bytes, 'B')}"


def _cpu(one: "Measurement | None") -> Cell:
    if one is None or not one.cpu_ns:
        return Cell(NO_VALUE, style="dim")
    return _number(format_ns(one.cpu_ns / one.n), one, "", order=one.cpu_ns / one.n)


def _number(text: str, one: "Measurement", note: str, order: float | None = None) -> Cell:
    """Mark the number of an invalid measurement."""
    style: Style = "strong" if one.valid else "warn"
    return Cell(text if one.valid else f"{text} *", note, style, order)


def _energy(one: "Measurement | None") -> Cell:
    if one is None or one.energy_j is None:
        return Cell(NOT_AVAILABLE, style="dim")
    return _number(f"{1000 * one.energy_j / one.n:.3g} mJ", one, "", order=one.energy_j / one.n)
