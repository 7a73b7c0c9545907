"""How much a measured figure changed from one side to the other, with the interval that a gate is judged by.

1. Times are compared by the 99% interval of `stats/time_ratio.py` over block medians, throughput and CPU time
   over block means. CPU time is counted once a measurement: its interval is as wide as that of the wall time.
2. A percentile is compared by the percentiles of blocks where each of them carries it. Within a block the
   machine was steady, so these are as independent as block medians are. Elsewhere blocks are drawn again
   (`block_bootstrap.py`) and their samples pooled, for which there must be enough.
3. What fewer blocks show than an interval of 99% needs is not judged.
4. Memory and size are counted: what was found is what is compared; of several runs the extremes.
5. Loading is timed once a process and scatters: at least two values on each side, whose extremes count.
6. What is INVALID is never used.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from compactor_runtimes.compare.block_bootstrap import percentile_ratio
from compactor_runtimes.compare.gates import PERCENTILES, Gate
from compactor_runtimes.measure.measurement import Measurement
from compactor_runtimes.stats.percentiles import CONFIDENCE, licence, percentile
from compactor_runtimes.stats.time_ratio import Timing, time_ratio

LONGER = "measure longer, --profile long"
_LEAST_DRAWN = 8  # blocks that are drawn again; an interval of pairs needs as many


class Undecidable(Exception):
    """Why a change cannot be told, and what to do; for `judge.py` alone."""


@dataclass(frozen=True)
class Evidence:
    """What gates read of one side: its measurements in each run, its size in each run.

    `missing` says why there is nothing, `apart` why costs must not be compared with the baseline's.
    """

    name: str
    runs: list[list[Measurement]]
    sizes: list[int]
    missing: str = ""
    apart: str = ""


def apart(letter: str, machine: str, plan: str) -> str:
    """Why no cost of this side may be compared, from how machine and plan differ."""
    if machine:
        return f"{letter} was measured on another machine ({machine}): measure both on one"
    return f"{letter} was measured by another plan ({plan}): measure both by one" if plan else ""


@dataclass(frozen=True)
class Change:
    """A change as a share of the baseline and in the figure's unit, each as (value, low, high)."""

    share: tuple[float, float, float]
    absolute: tuple[float, float, float]
    confidence: float | None
    how: str


@dataclass(frozen=True)
class _Timed:
    """One side's samples in ns, block by block, and what belongs to them."""

    name: str
    blocks: list[list[int]]
    session: str
    batch: int
    members: list[Measurement]

    def timing(self, of: Callable[[list[int]], float]) -> Timing:
        """The timing by `of` each block, and of all samples."""
        every = [sample for block in self.blocks for sample in block]
        return Timing(of(every), tuple(of(block) for block in self.blocks), self.session)


def changes_of(gate: Gate, a: Evidence, b: Evidence) -> list[Change]:
    """How the gate's figure changed: one change, or one for each batch size that both measured.

    Raises:
        Undecidable: it cannot be told; says why.
    """
    if gate.figure == "size":
        return [_counted(_sizes(a), _sizes(b), "counted")]
    if gate.figure in ("rss", "pss"):
        return [_counted(_memory(gate.figure, a), _memory(gate.figure, b), "one value a process")]
    if gate.figure == "load":
        return [_loading(a, b)]
    timed_a, timed_b = _timed(gate, a), _timed(gate, b)
    batches = [batch for batch in timed_a if batch in timed_b]
    if not batches:
        raise Undecidable(f"no batch size was measured of both, {list(timed_a)} and {list(timed_b)}")
    found = [_time_change(gate, timed_a[batch], timed_b[batch]) for batch in batches]
    if len(found) == 1:
        return found
    return [
        Change(each.share, each.absolute, each.confidence, f"batch of {batch}, {each.how}")
        for batch, each in zip(batches, found, strict=True)
    ]


def _time_change(gate: Gate, a: _Timed, b: _Timed) -> Change:
    """The change of one figure of time between two measurements of one batch size."""
    paired = bool(a.session) and a.session == b.session and len(a.blocks) == len(b.blocks)
    _require_blocks(a, b, paired)
    few, many = sorted((len(a.blocks), len(b.blocks)))
    count = f"{few} blocks" if few == many else f"{few} and {many} blocks"
    how = f"{count} that took turns" if paired else f"{count}, not in turns"
    if gate.figure == "throughput":
        times = time_ratio(a.timing(fmean), b.timing(fmean))
        baseline = a.batch * 1e9 / a.timing(fmean).median_ns
        return _of_ratio(baseline, 1 / times.value, 1 / times.high, 1 / times.low, how)
    if gate.figure == "cpu":
        times = time_ratio(a.timing(fmean), b.timing(fmean))
        used_a, used_b = _cpu(a), _cpu(b)
        ratio = used_b / used_a
        return _of_ratio(
            used_a,
            ratio,
            min(ratio * times.low / times.value, ratio),
            max(ratio * times.high / times.value, ratio),
            f"{how}, as wide as that of the time",
        )
    q = PERCENTILES[gate.figure]
    if q <= 0.5:
        times, baseline = time_ratio(a.timing(median), b.timing(median)), a.timing(median).median_ns
        return _of_ratio(baseline, times.value, times.low, times.high, how)
    for side in (a, b):
        n = sum(map(len, side.blocks))
        if n < licence(q):
            raise Undecidable(
                f"{gate.figure} needs {licence(q):,} samples, and {side.name} has {n:,}: {LONGER}"
            )

    def of(samples: Sequence[int]) -> float:
        value = percentile(samples, q).value_ns
        assert value is not None, "its licence was checked"
        return value

    baseline = of([sample for block in a.blocks for sample in block])
    if min(len(block) for side in (a, b) for block in side.blocks) >= licence(q):
        times = time_ratio(a.timing(of), b.timing(of))
        return _of_ratio(baseline, times.value, times.low, times.high, f"{gate.figure} of each of {how}")
    if few < _LEAST_DRAWN:
        raise Undecidable(
            f"{few} blocks that do not carry {gate.figure} each are too few, {_LEAST_DRAWN} needed: {LONGER}"
        )
    return _of_ratio(baseline, *percentile_ratio(a.blocks, b.blocks, q, paired=paired), f"bootstrap of {how}")


def _of_ratio(baseline: float, ratio: float, low: float, high: float, how: str) -> Change:
    """In the figure's unit a change is the share of what the baseline measured."""
    value, lower, upper = (each - 1 for each in (ratio, low, high))
    return Change(
        share=(value, lower, upper),
        absolute=(baseline * value, baseline * lower, baseline * upper),
        confidence=CONFIDENCE,
        how=how,
    )


def _require_blocks(a: _Timed, b: _Timed, paired: bool) -> None:
    """Refuse blocks whose ranks have no interval of 99%: the two outermost of their orders are too likely.

    Raises:
        Undecidable: names how many there are and how many are needed.
    """
    own, other = len(b.blocks), len(a.blocks)
    tail = 2.0 ** (1 - own) if paired else 2 / math.comb(own + other, own)
    if tail > 1 - CONFIDENCE + 1e-12:
        raise Undecidable(
            f"{other} and {own} blocks carry no {CONFIDENCE:.0%} interval "
            f"({'8 that took turns' if paired else '5 of each'} do): {LONGER}"
        )


def _timed(gate: Gate, side: Evidence) -> dict[int, _Timed]:
    """The samples of every batch size that each run measured in the gate's scope and scenario."""
    what = gate.scope if gate.scenario == "once" else f"{gate.scope} {gate.scenario}"
    found: dict[int, list[Measurement]] = {}
    for run in side.runs:
        for one in run:
            if (one.scope, one.scenario) == (gate.scope, gate.scenario) and one.samples_ns:
                found.setdefault(one.batch, []).append(one)
    whole = {batch: members for batch, members in found.items() if len(members) == len(side.runs)}
    if not whole:
        raise Undecidable(f"{side.name} holds no {what} measurement: measure it")
    for members in whole.values():
        _require_valid(side, members)
    return {
        batch: _Timed(
            name=side.name,
            blocks=[block for one in members for block in _blocks(one)],
            session=members[0].session if len(members) == 1 else "",
            batch=batch,
            members=members,
        )
        for batch, members in whole.items()
    }


def _blocks(one: Measurement) -> list[list[int]]:
    found: dict[int, list[int]] = {}
    for value, block in zip(one.samples_ns, one.blocks, strict=True):
        found.setdefault(block, []).append(value)
    return [found[block] for block in sorted(found)]


def _require_valid(side: Evidence, members: list[Measurement]) -> None:
    for one in members:
        if not one.valid:
            why = one.reasons[0] if one.reasons else "measure again on a quiet machine"
            raise Undecidable(f"{side.name}, {one.scope} {one.scenario}, is INVALID: {why}")


def _cpu(side: _Timed) -> float:
    """CPU time of a query in ns."""
    used = [one.cpu_ns for one in side.members]
    total = sum(each or 0 for each in used)
    if None in used or not total:
        raise Undecidable(f"the CPU time of {side.name} was not counted: measure it again")
    return total / sum(one.n for one in side.members)


def _memory(figure: str, side: Evidence) -> list[int]:
    """The process's memory in each run, by what is valid of it; cold starts answered one query alone."""
    values = []
    for run in side.runs:
        warm = [one for one in run if one.scope != "cold-start"]
        valid = [one for one in warm if one.valid]
        if warm and not valid:
            _require_valid(side, warm)
        known = [
            value
            for one in valid
            if (value := one.rss_bytes if figure == "rss" else one.pss_bytes) is not None
        ]
        if not known:
            raise Undecidable(f"{side.name} holds no {figure.upper()}: measure it on Linux")
        values.append(max(known))
    return values


def _sizes(side: Evidence) -> list[int]:
    if not side.sizes:
        raise Undecidable(f"the size of {side.name} is not known")
    return side.sizes


def _loading(a: Evidence, b: Evidence) -> Change:
    """Loading in ns: a warm process's, and the median of its cold starts."""
    values: list[list[int]] = []
    for side in (a, b):
        # measurements of one process repeat what it took to load
        found = {
            (number, one.scope == "cold-start"): round(1e9 * one.load_s)
            for number, run in enumerate(side.runs)
            for one in run
            if one.valid
        }
        if len(found) < 2:
            for run in side.runs:
                _require_valid(side, run)
            raise Undecidable(f"{side.name} was loaded once, which shows no scatter: measure cold starts too")
        values.append(list(found.values()))
    return _counted(values[0], values[1], "extremes of warm and cold processes")


def _counted(a: list[int], b: list[int], how: str) -> Change:
    """Differences of whole numbers, so that an equal one is 0; several are compared by their extremes."""
    if min(a) <= 0:
        raise Undecidable(f"the baseline is {min(a)}, of which nothing is a share")
    steps = (median(b) - median(a), min(b) - max(a), max(b) - min(a))
    shares = (steps[0] / median(a), steps[1] / max(a), steps[2] / min(a))
    return Change(share=shares, absolute=steps, confidence=None, how=how)
