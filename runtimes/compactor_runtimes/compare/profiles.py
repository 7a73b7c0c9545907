"""Compare profiles of one machine: each subject of the first with that of the same name, or two by name.

`FILE#NAME` names one. What the profile says of accuracy is its bundle's manifest, without answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from compactor_runtimes.compare.changes import Evidence, apart
from compactor_runtimes.compare.comparison import Comparison, Difference, Pair, Score, Side
from compactor_runtimes.compare.gates import Gate, GateResult
from compactor_runtimes.compare.judge import judge
from compactor_runtimes.compare.pairs import rss_ratio, size_ratio, time_ratios, unpaired
from compactor_runtimes.compare.profile_files import Given
from compactor_runtimes.compare.sides import costs_of, rss_of
from compactor_runtimes.compare.sources import differences, environment_difference
from compactor_runtimes.errors import UsageError
from compactor_runtimes.report.format import runtime_name, unique
from compactor_runtimes.tables import nearest

if TYPE_CHECKING:
    from compactor_runtimes.measure.machine_profile import MachineProfile, ProfileSubject

AGREEMENT = "agreement"
_NO_TIME = ("dissect",)  # settings that no time depends on


def compare_profiles(
    given: Sequence[Given],
    *,
    across_machines: bool = False,
    across_plans: bool = False,
    gates: Sequence[Gate] = (),
) -> Comparison:
    """Compare each profile with the first one; the arguments are those of `compare`.

    A subject of the first profile that another one lacks, or did not run, decides no gate.

    Raises:
        UsageError: no subject to compare, one that is not there, a gate of agreement that is not kept, or
            another machine or plan without leave.
    """
    first = given[0]
    sides: list[Side] = []
    pairs: list[Pair] = []
    notes = [f"{one.path} was stopped early: {one.profile.stopped}" for one in given if one.profile.stopped]
    results: list[GateResult] = []
    for number, one in enumerate(given[1:], 1):
        letter = chr(ord("A") + number) if number < 26 else f"R{number + 1}"
        for name_a, name_b in _names(first, one):
            a, b = _subject("A", first, name_a), _compared(letter, one, name_b, first, name_a)
            _require_leave(first, one, b.side, across_machines=across_machines, across_plans=across_plans)
            pair = _pair(a, b)
            for side in (a.side, b.side):
                if side not in sides:
                    sides.append(side)
            pairs.append(pair)
            notes += [each.evidence.missing for each in (a, b) if each.evidence.missing]
            _require_agreement(gates, a, b)
            results += judge(gates, pair, a.evidence, b.evidence)
        others = [each.name for each in one.profile.subjects if each.name not in _ran(first.profile)]
        if others and not (first.subject or one.subject):
            notes.append(f"not compared, {first.path} did not measure it: {unique(others)}")
    sides.sort(key=lambda side: side.letter)
    notes.append("accuracy is what each bundle's manifest says of it, measured where it was made")
    return Comparison(
        task=unique(task for side in given for each in side.profile.subjects if (task := each.task)),
        metric="",
        samples="",
        sides=sides,
        pairs=pairs,
        notes=list(dict.fromkeys(notes)),
        gates=results,
    )


@dataclass(frozen=True)
class _Subject:
    """One subject of a profile, and what is read of it; `row` is None where the profile has none such."""

    name: str
    path: str
    row: "ProfileSubject | None"
    side: Side
    evidence: Evidence


def _compared(letter: str, given: Given, name: str, first: Given, name_a: str) -> _Subject:
    """The subject that is compared with `name_a` of the first profile, and how machine and plan differ."""
    fed, fed_a = _samples(given, name), _samples(first, name_a)
    shared = fed.keys() & fed_a.keys()  # what is not there decides no gate and is no other plan
    return _subject(
        letter,
        given,
        name,
        machine=environment_difference(first.profile.environment, given.profile.environment),
        plan=differences(
            _plan(first.profile) | {key: fed_a[key] for key in sorted(shared)},
            _plan(given.profile) | {key: fed[key] for key in sorted(shared)},
        ),
    )


def _subject(letter: str, given: Given, name: str, *, machine: str = "", plan: str = "") -> _Subject:
    row = next((row for row in given.profile.subjects if row.name == name), None)
    measured = [one for one in given.profile.measurements if one.subject == name]
    missing = ""
    if row is None:
        missing = f"{given.path} holds no subject {name!r}: measure it there too"
    elif row.not_run:
        missing = f"{name!r} of {given.path} was not run ({row.not_run})"
    return _Subject(
        name=name,
        path=given.path,
        row=row,
        side=Side(
            letter=letter,
            path=given.path,
            title=given.profile.title,
            recipe="",
            runs=1,
            shipped=name,
            scores=_scores(row),
            costs=costs_of([measured]),
            size_bytes=row.size_bytes if row else None,
            rss_bytes=rss_of([measured]),
            other_machine=machine,
            other_plan=plan,
            runtime=unique(map(runtime_name, measured)) or (row.runtime if row else ""),
        ),
        evidence=Evidence(
            name=f"{letter} {name}",
            runs=[measured],
            sizes=[row.size_bytes] if row else [],
            missing=missing,
            apart=apart(letter, machine, plan),
        ),
    )


def _samples(given: Given, name: str) -> dict[str, Any]:
    """What was fed to a subject, by scope and scenario."""
    return {
        f"{one.scope} {one.scenario}: samples": one.sample_set_digest[:12]
        for one in given.profile.measurements
        if one.subject == name
    }


def _pair(a: _Subject, b: _Subject) -> Pair:
    difference = _difference(a, b)
    metrics = {each.row.metric for each in (a, b) if each.row}
    about_teacher = metrics == {AGREEMENT}
    return Pair(
        a=a.side.letter,
        b=b.side.letter,
        difference=None if about_teacher else difference,
        agreement=None,
        times=time_ratios(a.side, b.side),
        size=size_ratio(a.side, b.side),
        rss=rss_ratio(a.side, b.side),
        recommendation="",
        teacher_agreement=difference if about_teacher else None,
        subjects=(a.name, b.name),
    )


def _difference(a: _Subject, b: _Subject) -> Difference | None:
    """What b scores more than a; nothing of one artifact, and None where they were not judged alike."""
    one, other = a.row, b.row
    if one is None or other is None or not a.side.scores or not b.side.scores:
        return None
    if (one.task, one.metric, one.n) != (other.task, other.metric, other.n):
        return None
    if one.runtime_precision != other.runtime_precision:  # the manifest does not say what that costs
        return None
    if one.artifact_sha256 and (one.artifact_sha256, one.value) == (other.artifact_sha256, other.value):
        return Difference(points=0, low=0, high=0, n=one.n or 0, mcnemar=None, verdict="noise", paired=True)
    return unpaired(a.side.scores[-1], b.side.scores[-1])


def _scores(row: "ProfileSubject | None") -> list[Score]:
    if row is None or row.value is None or row.low is None or row.high is None:
        return []
    return [
        Score(
            kind="artifact",
            subject=row.name,
            value=row.value,
            low=row.low,
            high=row.high,
            n=row.n or 0,
            seed_low=row.value,
            seed_high=row.value,
        )
    ]


def _names(first: Given, other: Given) -> list[tuple[str, str]]:
    """Which subject of the first profile is compared with which of the other one."""
    name_a, name_b = first.subject or other.subject, other.subject or first.subject
    if not name_a:
        names = _ran(first.profile)
        if not names or not set(names) & {row.name for row in other.profile.subjects}:
            raise UsageError(
                f"{other.path}: has no subject of {first.path} ({unique(names) or 'which ran none'}), it has "
                f"{unique(row.name for row in other.profile.subjects) or 'none'}; name two, as FILE#NAME"
            )
        return [(name, name) for name in names]
    for one, name in ((first, name_a), (other, name_b)):
        known = [row.name for row in one.profile.subjects]
        if name not in known:
            raise UsageError(f"{one.path}: has no subject {name!r}; {nearest(name, known)}")
    return [(name_a, name_b)]


def _ran(profile: "MachineProfile") -> list[str]:
    return [row.name for row in profile.subjects if not row.not_run]


def _require_leave(
    first: Given, other: Given, side: Side, *, across_machines: bool, across_plans: bool
) -> None:
    if side.other_machine and not across_machines:
        raise UsageError(
            f"{other.path}: was measured on another machine than {first.path} ({side.other_machine}); "
            "measure both on one machine, or give --across-machines to compare size and accuracy alone"
        )
    if side.other_plan and not across_plans:
        raise UsageError(
            f"{other.path}: was measured by another plan than {first.path} ({side.other_plan}); measure both "
            "by one plan, or give --across-plans to compare size and accuracy alone"
        )


def _require_agreement(gates: Sequence[Gate], a: _Subject, b: _Subject) -> None:
    for subject in (a, b):
        if subject.row and subject.row.metric != AGREEMENT:
            for gate in gates:
                if gate.figure == AGREEMENT:
                    raise UsageError(
                        f"gate {gate.text}: {subject.path} holds no agreement with a teacher, only what "
                        f"the manifest says ({subject.row.metric or 'nothing'}); gate accuracy, or compare "
                        "run folders"
                    )


def _plan(profile: "MachineProfile") -> dict[str, Any]:
    settings: dict[str, Any] = msgspec.to_builtins(profile.settings)
    return {key: value for key, value in settings.items() if key not in _NO_TIME}
