"""What `--fail` says: which figure, and how much of a change is too much; and what became of each gate.

Grammar: FIGURE, `>` or `<`, a signed change. `p90>+5%` fails where p90 grew by more than 5%, `agreement<-0.5`
where agreement fell by more than half a point. Figures of time take a scope and a scenario before a dot.
"""

import re
from decimal import Decimal
from difflib import get_close_matches
from typing import Literal

from compactor_runtimes.bundle.manifest import Record
from compactor_runtimes.errors import UsageError
from compactor_runtimes.measure.measurement import Scope
from compactor_runtimes.stats.percentiles import format_ns
from compactor_runtimes.units import scaled

Unit = Literal["ns", "bytes", "1/s", "points"]
Outcome = Literal["passed", "failed", "undecided"]
EXAMPLES = '"p90>+5%", "end-to-end.median>+2ms", "agreement<-0.5" or "size>+0"'

PERCENTILES = {"median": 0.5, "p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
SCOPED: dict[str, Unit] = {**dict.fromkeys(PERCENTILES, "ns"), "throughput": "1/s", "cpu": "ns"}
"""Figures of queries, which a scope and a scenario may stand before."""
WHOLE: dict[str, Unit] = {
    "load": "ns",
    "rss": "bytes",
    "pss": "bytes",
    "size": "bytes",
    "accuracy": "points",
    "agreement": "points",
}
"""Figures of a subject as a whole."""
ACCURACY = ("accuracy", "agreement")
COUNTED = ("size", *ACCURACY)  # that do not depend on the machine
PREFIXES = ("compute", "end-to-end", "cold-start", "single-stream", "offline")

_SUFFIXES: dict[Unit, dict[str, int]] = {
    "ns": {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9},
    "bytes": {
        **dict.fromkeys(("", "B"), 1),
        **dict.fromkeys(("k", "K", "kB", "KB"), 10**3),
        **dict.fromkeys(("M", "MB"), 10**6),
        **dict.fromkeys(("G", "GB"), 10**9),
        **{"KiB": 2**10, "MiB": 2**20, "GiB": 2**30},
    },
    "1/s": {"": 1, "/s": 1},
    "points": {"": 1, "points": 1},
}
_GATE = re.compile(r"\s*([^\s<>]*)\s*([<>])\s*(\S+)\s*")
_CHANGE = re.compile(r"([+-])([0-9]{1,18}(?:\.[0-9]{1,18})?)(.*)", flags=re.DOTALL)
_SHOWN = 60  # letters of a bad text that a message repeats


class Gate(Record, frozen=True):
    """One limit of change: it fails where the change of `figure` lies beyond `limit` on the side of `sign`.

    `limit` is a share of the baseline where it is `relative`, else in `unit`. `scope` and `scenario` are
    empty for a figure of the whole.
    """

    text: str
    figure: str
    scope: Scope | Literal[""]
    scenario: Literal["single-stream", "offline", "once", ""]
    sign: Literal[">", "<"]
    limit: float
    relative: bool
    unit: Unit

    @property
    def words(self) -> str:
        """What it looks at: `end-to-end p90`, `compute offline throughput`, `size`."""
        shown = self.scenario if self.scenario == "offline" else ""
        return " ".join(part for part in (self.scope, shown, self.figure) if part)

    def written(self, value: float) -> str:
        """A change with its sign and unit: `+5.00%`, `-0.50 points`, `+2.00 ms`."""
        if self.relative:
            return f"{100 * value:+.2f}%"
        if self.unit == "points":
            return f"{value:+.2f} points"
        sign, size = "-" if value < 0 else "+", abs(value)
        if self.unit == "ns":
            return sign + format_ns(size)
        return sign + (scaled(size, "B") if self.unit == "bytes" else f"{scaled(size, '')}/s")

    def outcome(self, low: float, high: float) -> Outcome:
        """Judge a change that lies between `low` and `high`: decided only where both ends agree."""
        if self.sign == ">":
            return "failed" if low > self.limit else "passed" if high <= self.limit else "undecided"
        return "failed" if high < self.limit else "passed" if low >= self.limit else "undecided"


class GateResult(Record, frozen=True):
    """What became of a gate for the pair b against a; `subjects` are those of two profiles (a's, b's).

    `value`, `low` and `high` are the change as the gate's limit is given, None where there is none;
    `confidence` is that of the interval, None where values were counted. `how` says whence it comes, `reason`
    why it is undecided and what to do.
    """

    gate: Gate
    a: str
    b: str
    subjects: tuple[str, str]
    outcome: Outcome
    value: float | None = None
    low: float | None = None
    high: float | None = None
    confidence: float | None = None
    how: str = ""
    reason: str = ""

    @property
    def pair(self) -> str:
        """Who is compared: `B against A`, `B onnx int8 against A onnx int8`."""
        own, other = (
            f"{letter} {subject}".rstrip()
            for letter, subject in zip((self.b, self.a), reversed(self.subjects), strict=True)
        )
        return f"{own} against {other}"

    @property
    def change(self) -> str:
        """The change with its interval, or nothing."""
        if self.value is None or self.low is None or self.high is None:
            return ""
        if self.confidence is None and self.low == self.high:
            return self.gate.written(self.value)
        return "{} [{}, {}]".format(*map(self.gate.written, (self.value, self.low, self.high)))

    @property
    def why(self) -> str:
        """How the change was found, and the reason of an undecided one."""
        shown = "" if self.confidence is None else f"{self.confidence:.0%} interval"
        return "; ".join(
            part for part in (", ".join(each for each in (shown, self.how) if each), self.reason) if part
        )

    @property
    def sentence(self) -> str:
        """All of it: `p90>+5% of B against A: +7.1% [+6%, +8.3%], failed (99% interval, 12 blocks)`."""
        why = f" ({self.why})" if self.why else ""
        found = f"{self.change}, {self.outcome}" if self.change else self.outcome
        return f"{self.gate.text} of {self.pair}: {found}{why}"


def parse_gate(text: str) -> Gate:
    """Read one gate.

    Raises:
        UsageError: says what cannot be read, the nearest figure and how a gate is written.
    """
    found = _GATE.fullmatch(text)
    if found is None:
        raise _bad(text, "is not FIGURE, > or <, and a signed change")
    name, sign, change = found.groups()
    figure, scope, scenario = _figure(text, name)
    unit = (SCOPED | WHOLE)[figure]
    limit, relative = _limit(text, change, figure, unit)
    return Gate(
        text=f"{name}{sign}{change}",
        figure=figure,
        scope=scope,
        scenario=scenario,
        sign=">" if sign == ">" else "<",
        limit=limit,
        relative=relative,
        unit=unit,
    )


def _figure(
    text: str, name: str
) -> tuple[str, Scope | Literal[""], Literal["single-stream", "offline", "once", ""]]:
    """The figure, its scope and its scenario."""
    prefixes: list[str] = []
    figure = name
    while (prefix := figure.partition(".")[0]) in PREFIXES and "." in figure:
        prefixes.append(prefix)
        figure = figure.partition(".")[2]
    if figure not in SCOPED | WHOLE:
        raise _bad(text, f"names no figure that is known{_near(name)}")
    if figure in WHOLE:
        if prefixes:
            raise _bad(text, f"has a prefix, and {figure} is of the whole")
        return figure, "", ""
    scopes = [prefix for prefix in prefixes if prefix in PREFIXES[:3]]
    scenarios = [prefix for prefix in prefixes if prefix in PREFIXES[3:]]
    cold = "cold-start" in scopes
    if len(scopes) > 1 or len(scenarios) > 1 or (cold and scenarios):
        raise _bad(text, "has prefixes that exclude each other")
    if figure == "throughput" and (cold or scenarios == ["single-stream"]):
        raise _bad(text, "asks for a throughput of single queries, which is there for offline batches alone")
    scope: Scope = "cold-start" if cold else "end-to-end" if scopes == ["end-to-end"] else "compute"
    offline = bool(scenarios == ["offline"] or figure == "throughput")
    return figure, scope, "once" if cold else "offline" if offline else "single-stream"


def _limit(text: str, change: str, figure: str, unit: Unit) -> tuple[float, bool]:
    """The limit, and whether it is a share of the baseline."""
    found = _CHANGE.fullmatch(change)
    if found is None:
        raise _bad(text, f"has {_shown(change)} where a signed number is expected")
    # decimals are exact, so that 5% of a size is 5% and not a hair more
    amount, suffix = Decimal(found[1] + found[2]), found[3]
    if suffix == "%":
        if unit == "points":
            raise _bad(text, f"gives {figure} in percent, and a change of it is in points")
        if amount <= -100:
            raise _bad(text, "asks for a change that nothing can reach")
        return float(amount / 100) + 0.0, True
    known = _SUFFIXES[unit]
    if suffix not in known and not (suffix == "" and amount == 0):
        units = ", ".join(each for each in ("" if unit == "points" else "%", *known) if each)
        had = f"the unit {_shown(suffix)}" if suffix else "no unit"
        raise _bad(text, f"has {had} for {figure}, and one of {units} is expected")
    return float(amount * known.get(suffix, 1)) + 0.0, False


def _near(name: str) -> str:
    whole = [f"{prefix}.{figure}" for prefix in PREFIXES for figure in SCOPED]
    close = get_close_matches(name[:_SHOWN], [*SCOPED, *WHOLE, *whole], n=1, cutoff=0.4)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f" ({hint}known: {', '.join([*SCOPED, *WHOLE])}; before a dot: {', '.join(PREFIXES)})"


def _bad(text: str, why: str) -> UsageError:
    return UsageError(f"gate {_shown(text)} {why}; write it like {EXAMPLES}")


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
