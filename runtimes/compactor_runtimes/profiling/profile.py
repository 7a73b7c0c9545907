"""From bundles to a MachineProfile: check, measure in turns, take apart, recommend."""

import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from msgspec.structs import replace

from compactor_runtimes.bundle.open import Bundle, open_bundle
from compactor_runtimes.environment import describe, usable_cores
from compactor_runtimes.errors import NumericGateError, UnfitEnvironmentError
from compactor_runtimes.files import writing
from compactor_runtimes.golden.verify import read_golden
from compactor_runtimes.measure.harness import measure
from compactor_runtimes.measure.machine_profile import MachineProfile
from compactor_runtimes.measure.measurement import Settings
from compactor_runtimes.measure.peaks import measure_peaks
from compactor_runtimes.measure.progress import Progress
from compactor_runtimes.measure.wish import Wish
from compactor_runtimes.measure.work import roofline
from compactor_runtimes.profiling.golden import can_decode
from compactor_runtimes.profiling.recommendation import recommend
from compactor_runtimes.profiling.samples import given_samples, golden_samples, kind_of
from compactor_runtimes.profiling.subjects import Opened, Subject, Wanted, subjects_of

FEW_SAMPLES = 8


def profile_bundles(
    paths: Sequence[Path],
    wanted: Wanted,
    settings: Settings,
    *,
    samples: Sequence[Path] = (),
    wish: Wish = Wish(),  # noqa: B008 (frozen)
    command: str = "",
    tool_version: str = "",
    wait_quiet_s: float | None = None,
    again: int = 0,
    progress: Progress | None = None,
) -> MachineProfile:
    """Profile bundles on this machine.

    Args:
        paths: bundles of one kind of input.
        wanted: runtimes, artifacts and settings.
        settings: scenarios, profile, threads and batches.
        samples: files to feed; none takes the first bundle's golden cases.
        wish: what the recommendation goes by.
        command: how to do it again.
        tool_version: of this release.
        wait_quiet_s: as in `measure`.
        again: as in `measure`.
        progress: as in `measure`.

    Raises:
        UsageError: no such bundle, artifact or runtime, or samples of another kind.
        IntegrityError: a bundle is damaged.
        MissingDependency, UnfitEnvironmentError: a runtime that was asked for is not here, or nothing runs.
        CompactorError: see `measure`.
    """
    bundles = [open_bundle(path) for path in paths]
    kind = kind_of(bundles)
    notes: list[str] = []
    with writing(Path("temporary files")):
        folder = tempfile.TemporaryDirectory(prefix="compactor-samples-")
    with folder as scratch:
        if samples:
            raws = given_samples(samples, kind, Path(scratch))
            notes.append(f"samples: {len(raws):,} given")
        else:
            raws = golden_samples(bundles[0])
            notes.append(
                f"samples: the {len(raws)} golden cases of {bundles[0].manifest.name}; "
                "give your own with --samples"
            )
        opened = _opened(bundles)
        notes += dict.fromkeys(
            f"only compute of single samples was measured: {one.undecodable}"
            for one in opened
            if one.undecodable
        )
        subjects: list[Subject] = []
        for one in opened:
            if progress is not None:
                progress(f"{one.bundle.manifest.name}: golden cases", 0, 1)
            subjects += subjects_of(one, wanted, raws)
        candidates = [one.candidate for one in subjects if one.candidate is not None]
        if not candidates:
            raise _nothing(subjects)
        settings, left_out = _fitting(settings, bundles)
        notes += left_out
        found = measure(
            candidates,
            raws,
            settings,
            progress=progress,
            wait_quiet_s=wait_quiet_s,
            again=again,
            keep_stopped=True,
        )
    dissected = bool(found.anatomies)
    peaks = measure_peaks(settings.threads or usable_cores()) if dissected else None
    anatomies = [
        replace(one, roofline=roofline(one.work, peaks)) if peaks and one.work else one
        for one in found.anatomies
    ]
    rows = [one.row for one in subjects]
    return MachineProfile(
        title=", ".join(dict.fromkeys(one.bundle for one in rows)),
        command=command,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        tool_version=tool_version,
        environment=describe(),
        settings=settings,
        subjects=rows,
        measurements=found.measurements,
        anatomies=anatomies,
        recommendation=recommend(rows, [one.artifact for one in subjects], found.measurements, wish),
        peaks=peaks,
        sweep=wanted.sweep.plain,
        notes=notes,
        stopped=found.stopped,
    )


def require_golden(profile: MachineProfile) -> None:
    """Turn golden cases that failed into an error; what was measured is written by then.

    Raises:
        NumericGateError: names the first subject and the check.
    """
    for row in profile.subjects:
        failed = [check for check in row.golden if not check.passed]
        if failed:
            raise NumericGateError(
                f"{row.name}: {failed[0].name} failed here, so it was not timed: {failed[0].detail}; "
                "do not serve it on this machine"
            )


def _opened(bundles: Sequence[Bundle]) -> list[Opened]:
    """Read golden cases and check what decodes raw samples."""
    names = [bundle.manifest.name for bundle in bundles]
    found = []
    for bundle in bundles:
        own = bundle.manifest.name if names.count(bundle.manifest.name) == 1 else str(bundle.path)
        cases = read_golden(bundle)
        checks, undecodable = can_decode(bundle, cases)
        found.append(Opened(bundle, f"{own}: " if len(bundles) > 1 else "", cases, checks, undecodable))
    return found


def _fitting(settings: Settings, bundles: Sequence[Bundle]) -> tuple[Settings, list[str]]:
    """Leave batches out that a graph does not take, and say so."""
    most = min(
        port.max[0] if isinstance(port.axes[0], str) else 1
        for bundle in bundles
        for port in bundle.manifest.main.inputs
    )
    fits = [batch for batch in settings.offline_batches if batch <= most]
    if fits == settings.offline_batches or "offline" not in settings.scenarios:
        return settings, []
    left_out = [batch for batch in settings.offline_batches if batch > most]
    note = f"batches of {', '.join(map(str, left_out))} were left out: the graphs take {most} at most"
    return replace(settings, offline_batches=fits or [most]), [note]


def _nothing(subjects: Sequence[Subject]) -> Exception:
    rows = [one.row for one in subjects]
    failed = [check for row in rows for check in row.golden if not check.passed]
    why = "; ".join(dict.fromkeys(f"{row.name}: {row.not_run}" for row in rows))
    if failed:
        return NumericGateError(f"measure: nothing may be timed here: {why}")
    return UnfitEnvironmentError(f"measure: nothing can be measured here: {why or 'no artifact ships'}")
