"""What to ship, why, and how sure: the facts behind a recommendation, and the sentences that say them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from compactor_runtimes.report.decide.speed import (
    Speed,
    between_runtimes,
    compute_latency,
    in_one_runtime,
    speed_of,
)
from compactor_runtimes.report.format import (
    OVERRIDDEN,
    RANK_CORRELATION,
    artifact_name,
    change,
    change_interval,
    error_change,
    error_change_interval,
    interval,
    share,
    times,
    unit,
)
from compactor_runtimes.report.score_rows import SLOTS

if TYPE_CHECKING:
    from compactor_runtimes.bundle.manifest import Artifact, Check
    from compactor_runtimes.measure.measurement import Measurement
    from compactor_runtimes.report.contents import AccuracyRow, PairedRow, Report


BETTER_THAN_CHANCE, ERROR_RATIO = "better-than-chance", "max-error-ratio"
# gate that failed -> what to try
TRY = {
    BETTER_THAN_CHANCE: "look at the labels and the order of classes, lower or raise the learning rate, or "
    "train longer",
    ERROR_RATIO: "train longer or on more data, take a larger student, or set "
    "gates.student_vs_teacher.max_drop_points to the loss that you accept",
}
_PLAIN = {"noise": "inside the noise", "better": "a real gain", "worse": "a real loss"}


@dataclass(frozen=True)
class Facts:
    """What a report says of the shipped subject and of its teacher (all teachers together); None = unknown.

    `steps` are the paired comparisons that lead from the teacher to the shipped subject, `latency` the
    shipped subject's compute times of one sample, `speed` what these are compared with, `checks` the report's
    gates and what was checked of the shipped artifact.
    """

    shipped: "AccuracyRow | None"
    teacher: "AccuracyRow | None"
    artifact: "Artifact | None"
    steps: "list[PairedRow]"
    latency: "Measurement | None"
    speed: Speed
    checks: "list[Check]"

    @property
    def size_ratio(self) -> float | None:
        """Teacher's bytes over the shipped one's."""
        if self.shipped is None or self.teacher is None:
            return None
        if not self.shipped.size_bytes or not self.teacher.size_bytes:
            return None
        return self.teacher.size_bytes / self.shipped.size_bytes


def facts(report: "Report") -> Facts:
    """Collect what the recommendation rests on."""
    rows = {row.subject: row for row in report.accuracy}
    teachers = [row for row in report.accuracy if row.kind == "teacher"]
    teacher = teachers[-1] if teachers else None  # the last one is all of them together
    taught = None if teacher is None else teacher.subject
    student = next((row.subject for row in report.accuracy if row.kind == "student"), None)
    artifact = next((one for one in report.artifacts if artifact_name(one) == report.shipped), None)
    return Facts(
        shipped=rows.get(report.shipped),
        teacher=teacher,
        artifact=artifact,
        steps=_steps(report.paired, report.shipped, taught),
        latency=compute_latency(report.measurements, report.shipped),
        speed=speed_of(report.measurements, report.shipped, student=student, teacher=taught),
        checks=[*report.gates, *(artifact.checks if artifact is not None else [])],
    )


def recommend(report: "Report") -> str:
    """Say in a few sentences what to ship, why, and how sure that is; `report.shipped` names it."""
    failed = [gate for gate in report.gates if not gate.passed]
    if not report.shipped:
        why = [f"gate {gate.name} failed" for gate in failed]
        why += [
            f"artifact {one.name} {one.status}{f' ({one.reason})' if one.reason else ''}"
            for one in report.artifacts
            if not one.ships
        ]
        return f"Ship nothing: {'; '.join(why) or 'no artifact was chosen'}."
    known = facts(report)
    headline = _headline(report.shipped, known)
    sentences = [
        f"Not yet: {_why_not(failed)}." if failed else f"Ship {headline}",
        *([f"The bundle holds {headline}"] if failed else []),
        *between_runtimes(known.speed),
        *_overridden(known),
        *_chosen(report),
        *_accuracy(known),
        *_slot_loss(report),
        *_doubts(known),
        *_left_out(report),
    ]
    tried = dict.fromkeys(TRY[gate.name] for gate in failed if gate.name in TRY)
    sentences += [f"What to try: {'; '.join(tried)}."] if tried else []
    return " ".join(sentences)


def is_ready(report: "Report") -> bool:
    """Whether the report recommends to ship something."""
    return bool(report.shipped) and all(gate.passed for gate in report.gates)


def _why_not(failed: "list[Check]") -> str:
    return "; ".join(f"gate {gate.name} failed on select ({gate.detail})" for gate in failed)


def _headline(shipped: str, known: Facts) -> str:
    """Name it with its speed in one runtime and its size ratio, as far as they are known."""
    why = in_one_runtime(known.speed, shipped)
    ratio = known.size_ratio
    if ratio is not None:
        size = f"{times(ratio)} times smaller" if ratio >= 1 else f"{times(1 / ratio)} times larger"
        why.append(f"the shipped files are {size}")
    return shipped + (f": {', and '.join(why)}." if why else ".")


def _overridden(known: Facts) -> list[str]:
    """Never ship quietly what failed a gate."""
    if known.artifact is None or known.artifact.status != "overridden":
        return []
    return [f"{OVERRIDDEN}: it ships although a gate failed: {known.artifact.reason}."]


def _chosen(report: "Report") -> list[str]:
    """Why this one among the variants."""
    chosen = next((one for one in report.choice if one.decision == "chosen"), None)
    if chosen is None or len(report.choice) < 2:
        return []
    return [f"Of {len(report.choice)} variants {chosen.artifact} was chosen: {chosen.reason}."]


def _left_out(report: "Report") -> list[str]:
    """What was rejected and why, and what nobody has run."""
    sentences = []
    for decision, word in (("rejected", "Rejected"), ("not run", "Not run here")):
        named = [f"{one.artifact} ({one.reason})" for one in report.choice if one.decision == decision]
        sentences += [f"{word}: {'; '.join(named)}."] if named else []
    return sentences


def _accuracy(known: Facts) -> list[str]:
    sentences = []
    row = known.shipped
    if row is not None:
        against = {RANK_CORRELATION: " with the teacher's similarities", "agreement": " with the teacher"}
        sentences.append(
            f"Its {row.metric}{against.get(row.metric, '')} is {share(row.value, row)}{unit(row)} "
            f"{interval(row)} on {row.n:,} samples."
        )
    for step in known.steps:
        text = f"{step.step[:1].upper()}{step.step[1:]}: {in_words(step)}."
        sentences.append(text)
    return sentences


def _slot_loss(report: "Report") -> list[str]:
    """Say how many more slot errors the shipped subject makes than the teacher, where that is no noise."""
    for row in report.scores:
        if (row.subject, row.metric) != (report.shipped, SLOTS) or (row.relative_low or 0) <= 0:
            continue
        shown = f"{100 * row.value:.2f}% [{100 * row.low:.2f}, {100 * row.high:.2f}]"
        return [
            f"Its slot F1 is {shown} on {row.n:,} samples; against the teacher the error (1 - F1) changes by "
            f"{error_change(row)} {error_change_interval(row)}, a real loss."
        ]
    return []


def in_words(step: "PairedRow") -> str:
    """A step's change, its interval, the verdict, and how large a loss the samples cannot rule out."""
    if step.difference_points == step.low == step.high == 0:
        if step.mcnemar_p is None:
            return f"every label has the same order of samples (n {step.n:,})"
        return f"no answer turned from right to wrong or back (n {step.n:,})"
    text = f"{change(step)} {change_interval(step)}, n {step.n:,}, {_PLAIN[step.verdict]}"
    if step.verdict == "noise" and step.low < 0:
        text += f", though a loss of up to {-step.low:.2f} points cannot be ruled out"
    return text


def _doubts(known: Facts) -> list[str]:
    """What the numbers of the speed lack."""
    sentences = ["Its latency was not measured."] if known.latency is None else []
    measured = {one.subject: one for one in (known.latency, *known.speed.measurements) if one is not None}
    invalid = [one for one in measured.values() if not one.valid]
    if invalid:
        reasons = list(dict.fromkeys(reason for one in invalid for reason in one.reasons))
        more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        *first, last = (one.subject for one in invalid)
        subjects = f"{', '.join(first)} and {last}" if first else last
        known_not = (
            "How fast it is is not known" if known.latency in invalid else "Nothing is said of its speed"
        )
        sentences.append(f"{known_not}: the latency of {subjects} is INVALID: {reasons[0]}{more}.")
    return sentences


def _steps(paired: "list[PairedRow]", shipped: str, teacher: str | None) -> "list[PairedRow]":
    """The direct comparison of teacher and shipped if there is one, else the chain that ends in shipped."""
    direct = [row for row in paired if row.b == shipped and row.a == teacher]
    if direct:
        return direct[:1]
    chain: list[PairedRow] = []
    wanted = shipped
    while wanted != teacher:
        row = next((row for row in paired if row.b == wanted and row not in chain), None)
        if row is None:
            break
        chain.insert(0, row)
        wanted = row.a
    return chain
