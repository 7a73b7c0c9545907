"""Which of the measured variants is the one to load by default, and in words why each one is or is not.

1. Only what ships may be chosen: verified, or overridden with a reason.
2. The simplest stays unless another one computes one sample faster by more than the noise: verified before
   overridden, then fp32 before fused before fp16 before int8. An engine is code, which is loaded by its name
   and with trust alone: it is never the one to load by default where anything else ships.
3. Only valid measurements count: one that is INVALID or missing proves nothing, for or against.
4. Of those that are faster, the one with the smallest median is taken, or a simpler one that is not slower
   than that by more than the noise.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from compactor_runtimes.backends import is_code
from compactor_runtimes.environment import has_int8_dot
from compactor_runtimes.report.contents import Variant
from compactor_runtimes.report.format import artifact_bytes, artifact_name, runtime_name, times
from compactor_runtimes.stats.time_ratio import TimeRatio, time_ratio, timing_of

if TYPE_CHECKING:
    from compactor_runtimes.bundle.manifest import Artifact
    from compactor_runtimes.measure.measurement import Measurement

SAME_SIZE = 0.05  # sizes that differ by less than this share are not worth a word
_PRECISIONS = ("fp32", "fp16", "int8")


@dataclass(frozen=True)
class Choice:
    """The chosen artifact, and what became of every one in the order of the recipe."""

    artifact: "Artifact"
    variants: list[Variant]


def choose(artifacts: "list[Artifact]", measurements: "list[Measurement]") -> Choice:
    """Choose among all artifacts of one student, measured on this machine.

    Args:
        artifacts: with their verdicts, those that were rejected or not run included.
        measurements: of any subjects; the compute times of single samples decide.

    Raises:
        ValueError: nothing ships.
    """
    shipping = sorted((one for one in artifacts if one.ships), key=_complexity)
    if not shipping:
        raise ValueError("choose: got no artifact that ships, expected at least one")
    race = _Race(shipping[0], shipping, _latencies(measurements))
    chosen = race.chosen()
    return Choice(chosen, [_variant(one, race, chosen) for one in artifacts])


@dataclass(frozen=True)
class _Race:
    """What ships, simplest first: `plain` is the simplest, `latencies` are by subject, valid or not."""

    plain: "Artifact"
    shipping: "list[Artifact]"
    latencies: "dict[str, Measurement]"

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
        one, other = (self.latencies[artifact_name(each)] for each in (a, b))
        return time_ratio(timing_of(one.spread, one.session), timing_of(other.spread, other.session))

    def runtimes(self, a: "Artifact", b: "Artifact") -> str:
        """Which runtimes two times come from, to follow their ratio; nothing where one computed both."""
        first, second = (runtime_name(self.latencies[artifact_name(one)]) for one in (b, a))
        return "" if first == second else f" ({first} against {second})"

    def is_faster(self, b: "Artifact", a: "Artifact") -> bool:
        """Whether b is faster than a by more than the noise."""
        ratio = self.ratio(a, b)
        return ratio is not None and ratio.verdict == "better"

    @property
    def faster(self) -> "list[Artifact]":
        """Those that are faster than the plain one and may be loaded by default, the simplest first."""
        return [one for one in self.shipping if not is_code(one) and self.is_faster(one, self.plain)]

    @property
    def fastest(self) -> "Artifact":
        """The one of them with the smallest median; the plain one where there is none."""
        return min(
            self.faster, key=lambda one: self.latencies[artifact_name(one)].median_ns, default=self.plain
        )

    def chosen(self) -> "Artifact":
        """Rules 2 to 4."""
        fastest = self.fastest
        return next((one for one in self.faster if not self.is_faster(fastest, one)), fastest)


def _complexity(artifact: "Artifact") -> tuple[bool, bool, int, bool, bool]:
    """Rule 2 as a key; equals keep the order of the recipe."""
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


def _variant(artifact: "Artifact", race: _Race, chosen: "Artifact") -> Variant:
    name, subject = artifact.name, artifact_name(artifact)
    if artifact.status == "not-run":
        reason = artifact.reason or "it was not verified"
        return Variant(artifact=name, subject=subject, decision="not run", reason=reason)
    if not artifact.ships:
        return Variant(artifact=name, subject=subject, decision="rejected", reason=artifact.reason)
    plain, taken = race.plain, artifact is chosen
    ratio = None if artifact is plain else race.ratio(plain, artifact)
    own, plains = artifact_bytes(artifact), artifact_bytes(plain)
    smaller = plains / own if own and plains and artifact is not plain else None
    return Variant(
        artifact=name,
        subject=subject,
        decision="chosen" if taken else "not chosen",
        reason=_why(artifact, race, smaller) if taken else _why_not(artifact, race, chosen),
        against="" if artifact is plain else plain.name,
        speed=None if ratio is None else 1 / ratio.value,
        speed_low=None if ratio is None else 1 / ratio.high,
        speed_high=None if ratio is None else 1 / ratio.low,
        speed_verdict=None if ratio is None else ratio.verdict,
        smaller=smaller,
    )


def _why(chosen: "Artifact", race: _Race, smaller: float | None) -> str:
    """What speaks for the chosen one."""
    if len(race.shipping) == 1:
        return "the only one that ships"
    if chosen is race.plain:
        problem = race.problem(chosen)
        if problem:
            return f"the simplest; {problem}, so nothing shows that another one is faster"
        return "the simplest, and nothing that ships is faster by more than the noise"
    ratio = race.ratio(race.plain, chosen)
    assert ratio is not None  # only what was compared displaces the plain one
    reasons = [_faster(ratio, race, chosen), _size(smaller)]
    return ", ".join(reason for reason in reasons if reason)


def _why_not(artifact: "Artifact", race: _Race, chosen: "Artifact") -> str:
    """What speaks against one that ships but was not chosen."""
    plain = race.plain
    if artifact is plain:
        ratio = race.ratio(plain, chosen)
        assert ratio is not None
        return f"{chosen.name} is {_faster(ratio, race, chosen)}"
    ratio = race.ratio(plain, artifact)
    if ratio is None:
        problem = race.problem(artifact)
        return problem or f"no valid time of {plain.name} to compare with"
    if ratio.verdict == "better":
        first = _faster(ratio, race, artifact)
        if is_code(artifact):
            return f"{first}, but an engine is code: it is loaded by its name and with trust alone"
        for rival in (chosen, race.fastest):
            if race.is_faster(rival, artifact):
                return f"{first}, but {rival.name} is faster still"
        return f"{first}, but not faster than {chosen.name} by more than the noise, which is simpler"
    bounds = f"[{times(ratio.low)}, {times(ratio.high)}]{race.runtimes(plain, artifact)}"
    if ratio.verdict == "worse":
        first = f"slower than {plain.name} here: {times(ratio.value)} times its time {bounds}"
    else:
        time = f"{times(ratio.value)} times its time {bounds}"
        first = f"no faster than {plain.name} by more than the noise: {time}"
    return "; ".join(part for part in (first, slow_reason(artifact)) if part)


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
