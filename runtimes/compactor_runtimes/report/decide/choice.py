"""Which of the measured variants is the one to load by default, and in words why each one is or is not.

Only what ships may be chosen: verified, or overridden with a reason; `policy.py` has the rules. Simple is:
verified before overridden, then fp32 before fused before fp16 before int8. An engine is code, which is loaded
by its name and with trust alone. Only valid measurements count: one that is INVALID proves nothing.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from compactor_runtimes.backends import is_code
from compactor_runtimes.environment import has_int8_dot
from compactor_runtimes.measure.wish import Wish
from compactor_runtimes.report.contents import Variant
from compactor_runtimes.report.decide.policy import SAME_SIZE, Option, Pick, is_faster, pick, ratio_of
from compactor_runtimes.report.format import artifact_bytes, artifact_name, runtime_name, times
from compactor_runtimes.stats.time_ratio import TimeRatio, timing_of

if TYPE_CHECKING:
    from compactor_runtimes.bundle.manifest import Artifact
    from compactor_runtimes.measure.measurement import Measurement

_PRECISIONS = ("fp32", "fp16", "int8")
DROP_GATE = "max-drop"


@dataclass(frozen=True)
class Choice:
    """The chosen artifact, and what became of every one in the order of the recipe."""

    artifact: "Artifact"
    variants: list[Variant]


def choose(
    artifacts: "list[Artifact]",
    measurements: "list[Measurement]",
    wish: Wish = Wish(),  # noqa: B008 (frozen)
) -> Choice:
    """Choose among all artifacts of one student, measured on this machine.

    Args:
        artifacts: with their verdicts, those that were rejected or not run included.
        measurements: of any subjects; the compute times of single samples decide.
        wish: what the choice goes by.

    Raises:
        ValueError: nothing ships.
    """
    shipping = sorted((one for one in artifacts if one.ships), key=complexity)
    if not shipping:
        raise ValueError("choose: got no artifact that ships, expected at least one")
    latencies = _latencies(measurements)
    options = [_option(one, latencies) for one in shipping]
    # where nobody wanted times, none is missing that size could stand for
    picked = pick(options if latencies or wish.by != "latency" else options[:1], wish)
    race = _Race(shipping, latencies, picked, wish)
    return Choice(race.chosen, [_variant(one, race) for one in artifacts])


def _option(artifact: "Artifact", latencies: "dict[str, Measurement]") -> Option:
    one = latencies.get(artifact_name(artifact))
    return Option(
        name=artifact.name,
        complexity=complexity(artifact),
        timing=timing_of(one.spread, one.session) if one is not None and one.valid else None,
        size_bytes=artifact_bytes(artifact),
        memory_bytes=None if one is None else one.rss_bytes,
        lost_points=lost_points(artifact),
        is_code=is_code(artifact),
        is_verified=artifact.status == "verified",
    )


def lost_points(artifact: "Artifact") -> float | None:
    """Points that the artifact lost on select against the student, as its gate saw them; fp32 loses none."""
    seen = next((check.observed for check in artifact.checks if check.name == DROP_GATE), None)
    return 0.0 if seen is None and artifact.spec.precision == "fp32" else seen


@dataclass(frozen=True)
class _Race:
    """What ships, simplest first, with the times by subject, valid or not, and what was picked."""

    shipping: "list[Artifact]"
    latencies: "dict[str, Measurement]"
    picked: Pick
    wish: Wish

    @property
    def plain(self) -> "Artifact":
        """The simplest."""
        return self.shipping[0]

    @property
    def chosen(self) -> "Artifact":
        """The one that was picked."""
        return next(one for one in self.shipping if one.name == self.picked.option.name)

    def problem(self, artifact: "Artifact") -> str:
        """Why its time cannot be compared; empty if it can."""
        one = self.latencies.get(artifact_name(artifact))
        if one is None:
            return "its compute time was not measured"
        return "" if one.valid else f"its compute time is INVALID ({'; '.join(one.reasons) or 'no reason'})"

    def ratio(self, a: "Artifact", b: "Artifact") -> TimeRatio | None:
        """Time of b over time of a, where both are valid."""
        if self.problem(a) or self.problem(b):
            return None
        return ratio_of(*(_option(one, self.latencies) for one in (a, b)))

    def runtimes(self, a: "Artifact", b: "Artifact") -> str:
        """Which runtimes two times come from, to follow their ratio; nothing where one computed both."""
        first, second = (runtime_name(self.latencies[artifact_name(one)]) for one in (b, a))
        return "" if first == second else f" ({first} against {second})"

    def smaller(self, artifact: "Artifact") -> float | None:
        """How many times smaller than the simplest; None of itself, or where a size is not known."""
        own, plains = artifact_bytes(artifact), artifact_bytes(self.plain)
        return plains / own if own and plains and artifact is not self.plain else None


def complexity(artifact: "Artifact") -> tuple[int, ...]:
    """From simple to involved, as a key; equals keep the order of the recipe."""
    spec = artifact.spec
    return (
        is_code(artifact),
        artifact.status != "verified",
        _PRECISIONS.index(spec.precision),
        spec.exporter != "torch",
        spec.fused,
    )


def _latencies(measurements: "list[Measurement]") -> "dict[str, Measurement]":
    """Compute times of one sample by subject."""
    return {
        one.subject: one
        for one in measurements
        if one.scope == "compute" and one.scenario == "single-stream" and one.n
    }


def _variant(artifact: "Artifact", race: _Race) -> Variant:
    name, subject = artifact.name, artifact_name(artifact)
    if artifact.status == "not-run":
        reason = artifact.reason or "it was not verified"
        return Variant(artifact=name, subject=subject, decision="not run", reason=reason)
    if not artifact.ships:
        return Variant(artifact=name, subject=subject, decision="rejected", reason=artifact.reason)
    plain, taken = race.plain, artifact is race.chosen
    ratio = None if artifact is plain else race.ratio(plain, artifact)
    return Variant(
        artifact=name,
        subject=subject,
        decision="chosen" if taken else "not chosen",
        reason=_why(race) if taken else _why_not(artifact, race),
        against="" if artifact is plain else plain.name,
        speed=None if ratio is None else 1 / ratio.value,
        speed_low=None if ratio is None else 1 / ratio.high,
        speed_high=None if ratio is None else 1 / ratio.low,
        speed_verdict=None if ratio is None else ratio.verdict,
        smaller=race.smaller(artifact),
    )


def _why(race: _Race) -> str:
    """What speaks for the chosen one."""
    chosen, by = race.chosen, race.picked.by
    ratio = None if chosen is race.plain else race.ratio(race.plain, chosen)
    if len(race.shipping) == 1:
        return "the only one that ships"
    if by in ("memory", "accuracy") or race.wish.by == by == "size":
        least = {"size": "the smallest", "memory": "the least memory", "accuracy": "the least lost on select"}
        reasons = [f"{least[by]} (choose by {by})", _size(race.smaller(chosen))]
        reasons += [_faster(ratio, race, chosen)] if ratio is not None and ratio.verdict == "better" else []
        return ", ".join(reason for reason in reasons if reason)
    if by == "size":
        return f"{_size(race.smaller(chosen))} than {race.plain.name}, and {_undecided(race, chosen)}"
    if chosen is race.plain:
        problem = race.problem(chosen)
        if problem:
            return f"the simplest; {problem}, so nothing shows that another one is faster"
        return "the simplest, and nothing that ships is faster by more than the noise"
    if ratio is None or ratio.verdict != "better":
        return "the simplest that holds every bound"
    reasons = [_faster(ratio, race, chosen), _size(race.smaller(chosen))]
    return ", ".join(reason for reason in reasons if reason)


def _undecided(race: _Race, artifact: "Artifact") -> str:
    """Why time cannot decide between the simplest and an artifact."""
    problem = race.problem(race.plain)
    of = f"of {race.plain.name}: {problem}" if problem else race.problem(artifact)
    return f"time cannot decide ({of or 'the difference is inside the noise'})"


def _why_not(artifact: "Artifact", race: _Race) -> str:
    """What speaks against one that ships but was not chosen."""
    plain, chosen, by = race.plain, race.chosen, race.picked.by
    if artifact.name in race.picked.left_out:
        return f"outside choose.{race.picked.left_out[artifact.name]}"
    if by in ("memory", "accuracy") or race.wish.by == by == "size":
        words = {"size": "smaller", "memory": "smaller in memory", "accuracy": "no less accurate on select"}
        return f"{chosen.name} is {words[by]} (choose by {by})"
    if by == "size" and artifact is plain:
        return f"{chosen.name} is {_size(race.smaller(chosen))}, and {_undecided(race, chosen)}"
    if artifact is plain:
        ratio = race.ratio(plain, chosen)
        assert ratio is not None  # only what was compared displaces the simplest otherwise
        return f"{chosen.name} is {_faster(ratio, race, chosen)}"
    ratio = race.ratio(plain, artifact)
    if ratio is None:
        problem = race.problem(artifact)
        return problem or f"no valid time of {plain.name} to compare with"
    if ratio.verdict == "better":
        return f"{_faster(ratio, race, artifact)}, but {_better_one(artifact, race)}"
    bounds = f"[{times(ratio.low)}, {times(ratio.high)}]{race.runtimes(plain, artifact)}"
    if ratio.verdict == "worse":
        first = f"slower than {plain.name} here: {times(ratio.value)} times its time {bounds}"
    else:
        time = f"{times(ratio.value)} times its time {bounds}"
        first = f"no faster than {plain.name} by more than the noise: {time}"
    return "; ".join(part for part in (first, slow_reason(artifact)) if part)


def _better_one(artifact: "Artifact", race: _Race) -> str:
    """What is better than one that is faster than the simplest."""
    if is_code(artifact):
        return "an engine is code: it is loaded by its name and with trust alone"
    own = _option(artifact, race.latencies)
    rivals = [one for one in race.shipping if not is_code(one) and one is not artifact]
    rivals.sort(key=lambda one: (one is not race.chosen, race.latencies[artifact_name(one)].median_ns))
    for rival in rivals:
        if is_faster(_option(rival, race.latencies), own):
            return f"{rival.name} is faster still"
    word = "smaller" if (race.smaller(race.chosen) or 1) > (race.smaller(artifact) or 1) else "simpler"
    return f"not faster than {race.chosen.name} by more than the noise, which is {word}"


def _faster(ratio: TimeRatio, race: _Race, artifact: "Artifact") -> str:
    plain = race.plain
    bounds = f"[{times(1 / ratio.high)}, {times(1 / ratio.low)}]"
    return f"{times(1 / ratio.value)} times as fast as {plain.name} {bounds}{race.runtimes(plain, artifact)}"


def _size(smaller: float | None) -> str:
    """How many times smaller or larger, where it is worth a word."""
    if smaller is None or abs(smaller - 1) < SAME_SIZE:
        return ""
    return f"{times(smaller)} times smaller" if smaller > 1 else f"{times(1 / smaller)} times larger"


def slow_reason(artifact: "Artifact") -> str:
    """Say from its record why an 8-bit artifact may be slower than fp32 on this machine, or nothing."""
    if artifact.spec.precision != "int8":
        note = artifact.made.get("note", "")
        return str(note)
    reasons = []
    if artifact.isa and not has_int8_dot(artifact.isa):
        reasons.append("no 8-bit dot products (VNNI) on this CPU")
    placed = artifact.made.get("placement", {})
    pairs = placed.get("unfused_pairs")
    if pairs and artifact.spec.quantization == "static":  # the other kind has no pairs to fuse
        reasons.append(f"{pairs} QDQ {'pair' if pairs == 1 else 'pairs'} not fused")
    if placed.get("float_ops"):
        total = placed["float_ops"] + placed.get("int8_ops", 0)
        reasons.append(f"{placed['float_ops']} of {total} products in float")
    if artifact.spec.quantization == "dynamic":
        reasons.append("ranges are computed at every run")
    return ", ".join(reasons)
