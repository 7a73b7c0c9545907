"""What `compare` reads: reports and predictions of run folders, bundles and folders of seeds.

Here is also decided whether two of them may be compared at all.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from compactor_runtimes.bundle.open import MANIFEST, open_bundle
from compactor_runtimes.errors import IntegrityError, UsageError
from compactor_runtimes.measure.measurement import Measurement
from compactor_runtimes.report import REPORT_FILE, AccuracyRow, Kind, Report, read_report
from compactor_runtimes.report.format import UNPAIRED
from compactor_runtimes.stats.predictions import PREDICTIONS_FILE, Predictions, read_predictions

RUN_REPORTS, BUNDLE_REPORTS = "report", "reports"
SEEDS_FILE = "seeds.json"


@dataclass(frozen=True)
class RunResult:
    """One run's report, the artifact it shipped, and what its subjects answered.

    `predictions` are None where no sample by itself is right or wrong: of embeddings and of sets of labels.
    """

    path: Path
    report: Report
    predictions: Predictions | None
    shipped: AccuracyRow

    @property
    def samples(self) -> str:
        """Digest of the report samples."""
        return self.predictions.digest if self.predictions else self.report.report_digest

    def row(self, kind: Kind) -> AccuracyRow | None:
        """The row of the student, of all teachers together (the last of theirs), or of what was shipped."""
        if kind == "artifact":
            return self.shipped
        return next((row for row in reversed(self.report.accuracy) if row.kind == kind), None)

    @property
    def measurements(self) -> list[Measurement]:
        """Measurements of what was shipped."""
        return [one for one in self.report.measurements if one.subject == self.shipped.subject]


@dataclass(frozen=True)
class Source:
    """What one argument of `compare` stands for: one run, or one for each seed."""

    path: str
    runs: list[RunResult]

    @property
    def first(self) -> RunResult:
        """Its only run, or that of the first seed."""
        return self.runs[0]


def open_source(path: Path) -> Source:
    """Read a run folder, a bundle, or a folder with `seeds.json` (a recipe's folder means its latest run).

    Raises:
        UsageError: it is none of these, or a run that shipped nothing.
        IntegrityError: a file is damaged or missing.
    """
    if not path.is_dir():
        found = "is a file" if path.exists() else "does not exist"
        raise UsageError(
            f"{path}: {found}; give a run folder (runs/NAME/latest), a bundle, a seeds folder or a profile"
        )
    if (path / SEEDS_FILE).is_file():
        return Source(str(path), [_open_run(path / each) for each in _seed_runs(path / SEEDS_FILE)])
    latest = path / "latest"
    if latest.is_dir() and not (path / RUN_REPORTS).exists() and not (path / MANIFEST).exists():
        return Source(str(latest), open_source(latest).runs)
    return Source(str(path), [_open_run(path)])


def require_comparable(first: RunResult, other: RunResult) -> None:
    """Refuse what can never be compared: another task, metric or set of samples.

    Raises:
        UsageError: says which of them differs.
    """
    task, metric = first.report.task, first.shipped.metric
    if (other.report.task, other.shipped.metric) != (task, metric):
        raise UsageError(
            f"{other.path}: is {other.report.task} judged by {other.shipped.metric}, but {first.path} is "
            f"{task} judged by {metric}; compare runs of one task on the same data"
        )
    if not first.samples or other.samples != first.samples:
        raise UsageError(
            f"{other.path}: its report samples (digest {other.samples[:12] or 'missing'}) are not those of "
            f"{first.path} (digest {first.samples[:12] or 'missing'}), and results on different samples are "
            "never compared; run both recipes on the same data"
        )
    a, b = first.predictions, other.predictions
    if a and b and (a.ids.tolist(), a.labels.tolist()) != (b.ids.tolist(), b.labels.tolist()):
        raise IntegrityError(
            f"{other.path}: names the samples of {first.path} but holds other ids or labels; "
            "a file is damaged, run the recipe again"
        )


def machine_difference(first: RunResult, other: RunResult) -> str:
    """How the machines differ as far as costs depend on it; empty if they do not."""
    return environment_difference(first.report.environment, other.report.environment)


def environment_difference(first: dict[str, Any], other: dict[str, Any]) -> str:
    """The same of two environments."""
    return differences(_machine(first), _machine(other))


def plan_difference(first: RunResult, other: RunResult) -> str:
    """How the plans differ by which what was shipped was measured; empty if they do not."""
    return differences(_plan(first), _plan(other))


def _open_run(path: Path) -> RunResult:
    if (path / MANIFEST).is_file():
        open_bundle(path)  # checks every hash
        folder = path / BUNDLE_REPORTS
    else:
        folder = path / RUN_REPORTS
    if not (folder / REPORT_FILE).is_file():
        raise UsageError(
            f"{path}: holds no {folder.name}/{REPORT_FILE}, so this is no finished run or bundle; "
            "give runs/NAME/latest, or finish the run"
        )
    report = read_report(folder / REPORT_FILE)
    artifacts = [row for row in report.accuracy if row.kind == "artifact"]
    chosen = [row for row in artifacts if row.subject == report.shipped] if report.shipped else artifacts
    if not chosen:
        what = f"has no row for {report.shipped!r}" if report.shipped else "shipped no artifact"
        raise UsageError(
            f"{folder / REPORT_FILE}: {what}, so there is nothing to compare; finish the run first"
        )
    shipped = chosen[-1]
    if shipped.metric in UNPAIRED:
        return RunResult(path, report, None, shipped)
    predictions = read_predictions(folder / PREDICTIONS_FILE)
    if shipped.subject not in predictions.top1:
        raise IntegrityError(
            f"{folder / PREDICTIONS_FILE}: holds answers of {sorted(predictions.top1)} but not of "
            f"{shipped.subject!r}, which the report ships; run the recipe again"
        )
    return RunResult(path, report, predictions, shipped)


def _seed_runs(path: Path) -> list[str]:
    try:
        runs = msgspec.json.decode(path.read_bytes(), type=dict[str, Any]).get("runs")
        names = msgspec.convert(runs, list[str])
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise IntegrityError(f"{path}: is no list of runs ({error}); run the recipe again") from error
    if not names:
        raise UsageError(f"{path}: lists no run, at least one expected; finish a run of the recipe first")
    return names


def _machine(environment: dict[str, Any]) -> dict[str, Any]:
    packages = environment.get("packages", {})
    keys = ("cpu", "arch", "usable_cores", "logical_cores", "gpus")
    return {key: environment.get(key) or None for key in keys} | {
        name: packages.get(name) for name in ("onnxruntime", "onnxruntime-gpu")
    }


def _plan(run: RunResult) -> dict[str, Any]:
    """What measured samples depend on beside machine and subject (their number depends on the times)."""
    measure = run.report.provenance.get("recipe", {})
    measure = measure.get("measure", {}) if isinstance(measure, dict) else {}
    plan: dict[str, Any] = {"profile": measure.get("profile")} if isinstance(measure, dict) else {}
    for one in run.measurements:
        what = f"{one.scope} {one.scenario}"
        plan[f"{what}: batch"] = [*plan.get(f"{what}: batch", []), one.batch]
        plan[f"{what}: blocks"] = len(set(one.blocks))
        plan["threads"] = one.threads
        plan["measured samples"] = one.sample_set_digest[:12]
    return plan


def differences(a: dict[str, Any], b: dict[str, Any]) -> str:
    """Up to three of the entries that differ, as b's value against a's; empty if none does."""
    keys = [key for key in {**a, **b} if a.get(key) != b.get(key)]
    shown = [f"{key} {_value(b.get(key))} against {_value(a.get(key))}" for key in keys[:3]]
    more = [f"and {len(keys) - 3} more"] if len(keys) > 3 else []
    return ", ".join(shown + more)


def _value(value: Any) -> str:
    return "none" if value is None else repr(value)
