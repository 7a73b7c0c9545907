"""The table of models on runtimes: who agrees with fp32, what each costs, and which runtime wins where."""

from typing import Any

from benchmarks import markdown
from compactor_runtimes.report.format import times
from compactor_runtimes.stats.percentiles import format_ns
from compactor_runtimes.stats.time_ratio import Timing, time_ratio
from compactor_runtimes.units import scaled

HEADINGS = (
    "model",
    "artifact",
    "runtime",
    "golden",
    "agrees",
    "compute",
    "p99",
    "samples/s",
    "memory",
    "size",
)


def table(content: dict[str, Any]) -> str:
    """One row a subject, then a sentence a model."""
    tables = [run["result"] for run in content["runs"] if run["settings"]["part"] == "models"]
    if not tables:
        return "The table of models was not run."
    rows = [row for one in tables for row in _rows(one)]
    words = [f"- {one['title']}: {_winner(one)}" for one in tables]
    about = (
        "agrees: share of the samples on which the answer is that of fp32 in ONNX Runtime (of vectors, a "
        "cosine of at least 0.999); compute: median of one sample; memory: PSS of the process in use. `*`: "
        "INVALID."
    )
    return "\n\n".join([markdown.table(HEADINGS, rows), about, "\n".join(words)])


def _rows(one: dict[str, Any]) -> list[list[str]]:
    rows = []
    for number, subject in enumerate(one["subjects"]):
        title = f"{one['title']}, n {one['agreement_n']}" if number == 0 else ""
        star = "" if subject["valid"] else "*"
        if subject["median_ns"] is None:
            cost = ["-", "-", "-", "-"]
        else:
            p99 = "n/a" if subject["p99_ns"] is None else f"{format_ns(subject['p99_ns'])}{star}"
            rate = "-" if subject["samples_per_s"] is None else f"{subject['samples_per_s']:,.0f}"
            cost = [f"{format_ns(subject['median_ns'])}{star}, n {subject['n']:,}", p99, rate]
            cost.append(scaled(subject["pss_bytes"] or subject["rss_bytes"], "B"))
        golden = "passed" if subject["golden"] else f"FAILED: {subject['worst'] or subject['not_run']}"
        agrees = "n/a" if subject["agreement"] is None else f"{100 * subject['agreement']:.2f}"
        rows.append(
            [
                title,
                subject["artifact"],
                subject["runtime"],
                golden,
                agrees,
                *cost,
                scaled(subject["size_bytes"], "B"),
            ]
        )
    return rows


def _winner(one: dict[str, Any]) -> str:
    """Which subject takes least time, as far as times are valid and apart."""
    timed = [each for each in one["subjects"] if each["valid"] and each["median_ns"]]
    if len(timed) < 2:
        return "too few valid times to compare."
    best = min(timed, key=lambda each: each["median_ns"])
    words = []
    for other in timed:
        if other is best:
            continue
        ratio = time_ratio(_timing(other), _timing(best))
        name = f"{other['artifact']} on {other['runtime']}"
        if ratio.verdict == "noise":
            words.append(f"no faster than {name} by more than the noise")
        else:
            bounds = f"[{times(1 / ratio.high)}, {times(1 / ratio.low)}]"
            words.append(f"{times(1 / ratio.value)} times as fast as {name} {bounds}")
    return f"{best['artifact']} on {best['runtime']} is {'; '.join(words)}."


def _timing(one: dict[str, Any]) -> Timing:
    return Timing(one["median_ns"], tuple(one["blocks_ns"]), one["session"])
