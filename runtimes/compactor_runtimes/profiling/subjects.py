"""Which subjects a profile has: artifacts on runtimes with settings, each checked before it is timed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from compactor_runtimes.backends import (
    choose_runtime,
    file_of,
    find_runtime,
    has_threads,
    is_code,
    options_of,
    runtimes_for,
)
from compactor_runtimes.backends.refusals import UNTRUSTED
from compactor_runtimes.bundle.manifest import Artifact, Check
from compactor_runtimes.bundle.open import Bundle
from compactor_runtimes.errors import MissingDependency, UnfitEnvironmentError, UsageError
from compactor_runtimes.golden.findings import Case
from compactor_runtimes.measure.machine_profile import ProfileSubject
from compactor_runtimes.measure.measurement import Candidate, Fed
from compactor_runtimes.profiling.digests import bundle_digest
from compactor_runtimes.profiling.golden import agreement_check, golden_checks
from compactor_runtimes.profiling.sweep import Setting, Sweep
from compactor_runtimes.report.format import artifact_bytes, artifact_name
from compactor_runtimes.tables import nearest


@dataclass(frozen=True)
class Wanted:
    """What was asked for; empty runtimes are each artifact's default, empty artifacts all that ship."""

    runtimes: Sequence[str] = ()
    artifacts: Sequence[str] = ()
    threads: int | None = None
    sweep: Sweep = Sweep()  # noqa: RUF009 (frozen)
    trust: bool = False


@dataclass(frozen=True)
class Opened:
    """A bundle with its golden cases, its name in the profile, and why raw samples cannot be decoded here."""

    bundle: Bundle
    label: str
    cases: list[Case]
    checks: list[Check]
    undecodable: str = ""


@dataclass(frozen=True)
class Subject:
    """A row of the profile, and the candidate that is measured; None where it is not run."""

    row: ProfileSubject
    artifact: Artifact
    candidate: Candidate | None


def subjects_of(opened: Opened, wanted: Wanted, samples: Sequence[Path]) -> list[Subject]:
    """List all subjects of one bundle, each checked on this machine.

    Raises:
        UsageError: an artifact or a runtime of no name.
        MissingDependency, UnfitEnvironmentError: a runtime that was asked for by name is not here.
    """
    found = []
    for artifact in _artifacts(opened.bundle, wanted.artifacts):
        for runtime in wanted.runtimes or [choose_runtime(artifact)]:
            row = _row(opened, artifact, runtime)
            problem = _problem(artifact, runtime, trust=wanted.trust)
            if problem:
                found.append(Subject(replace(row, not_run=problem), artifact, None))
                continue
            checks, problem = _checked(opened, artifact, runtime, wanted, samples)
            row = replace(row, golden=[*opened.checks, *checks], not_run=problem)
            spins = find_runtime(runtime).runs_fused  # ONNX Runtime's own pool of threads
            threads = wanted.threads if has_threads(runtime) else None
            sweep = wanted.sweep if has_threads(runtime) else Sweep()
            for setting in sweep.settings(threads=threads, spins=spins):
                own = _with(row, setting, swept=bool(wanted.sweep.threads or wanted.sweep.spinning))
                candidate = None if problem else _candidate(opened, artifact, own, wanted)
                found.append(Subject(own, artifact, candidate))
    return found


def _artifacts(bundle: Bundle, names: Sequence[str]) -> list[Artifact]:
    known = {one.name: one for one in bundle.manifest.main.artifacts}
    for name in names:
        if name not in known:
            raise UsageError(f"{bundle.path}: no artifact {name!r}; {nearest(name, list(known))}")
    return [known[name] for name in names] or [one for one in known.values() if one.status != "rejected"]


def _row(opened: Opened, artifact: Artifact, runtime: str) -> ProfileSubject:
    manifest = opened.bundle.manifest
    scored: dict[str, Any] = manifest.metrics.get(artifact_name(artifact), {})
    metric = next((key for key in scored if key not in ("low", "high", "n", "split")), "")
    return ProfileSubject(
        name=f"{opened.label}{artifact.name} @ {runtime}",
        bundle=manifest.name,
        bundle_digest=bundle_digest(opened.bundle.path),
        artifact=artifact.name,
        runtime=runtime,
        precision=artifact.spec.precision,
        size_bytes=artifact_bytes(artifact),
        artifact_sha256=artifact.files[0].sha256 if artifact.files else "",
        runtime_precision=find_runtime(runtime).precision,
        is_default=artifact.name == manifest.default_artifact,
        task=manifest.task,
        metric=metric,
        value=scored.get(metric),
        low=scored.get("low"),
        high=scored.get("high"),
        n=scored.get("n"),
    )


def _problem(artifact: Artifact, runtime: str, *, trust: bool) -> str:
    """Why a subject is not even tried."""
    find_runtime(runtime)
    if runtime not in runtimes_for(artifact):
        return (
            f"runtime {runtime} does not open {artifact.spec.format}{' fused' if artifact.spec.fused else ''}"
        )
    if is_code(artifact) and not trust:
        return UNTRUSTED
    if not artifact.ships and not (is_code(artifact) and artifact.files):
        return artifact.reason or f"it is {artifact.status}"
    return ""


def _checked(
    opened: Opened, artifact: Artifact, runtime: str, wanted: Wanted, samples: Sequence[Path]
) -> tuple[list[Check], str]:
    """The checks before timing, and why it is not timed after them."""
    threads = wanted.threads if has_threads(runtime) else None
    try:
        if find_runtime(runtime).precision:
            if opened.undecodable:
                return [], f"its precision is judged by answers, and {opened.undecodable}"
            checks = [agreement_check(opened.bundle, artifact, runtime, samples, threads=threads)]
        else:
            checks = golden_checks(
                opened.bundle, artifact, runtime, opened.cases, threads=threads, trust=wanted.trust
            )
    except (MissingDependency, UnfitEnvironmentError) as error:
        if wanted.runtimes:
            raise
        return [], str(error)
    failed = [check for check in checks if not check.passed]
    return checks, f"{failed[0].name} failed here: {failed[0].detail}" if failed else ""


def _with(row: ProfileSubject, setting: Setting, *, swept: bool) -> ProfileSubject:
    name = f"{row.name}, {setting.words}" if swept and setting.words else row.name
    return replace(row, name=name, threads=setting.threads, spinning=setting.spinning)


def _candidate(opened: Opened, artifact: Artifact, row: ProfileSubject, wanted: Wanted) -> Candidate:
    manifest, bundle = opened.bundle.manifest, opened.bundle
    entry = file_of(artifact, row.runtime, trust=wanted.trust)
    options = options_of(row.runtime, trust=wanted.trust)
    return Candidate(
        name=row.name,
        runtime=row.runtime,
        source=str(bundle.file(entry.path)),
        digest=entry.sha256,
        pre=manifest.pre,
        post=manifest.post,
        labels=manifest.labels,
        size_bytes=row.size_bytes,
        assets=str(bundle.path),
        precision=row.runtime_precision or row.precision,
        options=options if row.spinning is None else options | {"spinning": row.spinning},
        threads=row.threads,
        fed=_fed(bundle) if opened.undecodable else None,
    )


def _fed(bundle: Bundle) -> Fed:
    """The golden cases' arrays, which stand for raw samples that cannot be decoded."""
    from compactor_runtimes.bundle.open import read_cases

    return Fed(
        tensors=str(bundle.file(bundle.manifest.golden.tensors)),
        keys=[case.feeds for case in read_cases(bundle)],
    )
