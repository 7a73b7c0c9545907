"""Check engines on the NVIDIA GPU of this machine: build, run beside ONNX Runtime, look inside, time.

What is checked is a bundle's (`subjects.py`) or a tiny graph. Where something cannot run, each of its
steps says so, and nothing counts as passed.
"""

import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from math import inf
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from compactor.gpu.engine_layers import layer_types
from compactor.gpu.subjects import Subject, bundle_subjects, tiny_subject
from compactor_runtimes.backends import Runtime, open_runtime
from compactor_runtimes.backends.gpu import Gpu, nvidia_gpu
from compactor_runtimes.errors import CompactorError, NumericGateError, UnfitEnvironmentError
from compactor_runtimes.files import write_whole
from compactor_runtimes.golden.checks import check_artifact
from compactor_runtimes.golden.findings import Finding, compare, summarise
from compactor_runtimes.measure.queries import warm_up
from compactor_runtimes.stats.percentiles import percentile

RUNS = 200

Tell = Callable[[str], None]
Check = Callable[[Subject, Runtime, Callable[[], str]], tuple[bool, str]]


class Step(Struct, frozen=True, kw_only=True):
    """One step on one subject, and what came of it."""

    subject: str
    step: str
    status: Literal["passed", "FAILED", "not-run"]
    detail: str


class GpuReport(Struct, frozen=True, kw_only=True):
    """All steps; `gpu` is None where there is none. It passed if every step ran and passed."""

    gpu: str | None
    bundle: str | None
    steps: list[Step]

    @property
    def passed(self) -> bool:
        """Whether every step was run and passed."""
        return bool(self.steps) and all(step.status == "passed" for step in self.steps)

    def error(self) -> CompactorError | None:
        """Return the error that the report amounts to: a failure before what was not run."""
        failed = [step for step in self.steps if step.status == "FAILED"]
        if failed:
            first = failed[0]
            return NumericGateError(
                f"{first.subject}, {first.step}: {first.detail}; do not serve this engine on this GPU"
            )
        if self.passed:
            return None
        reasons = dict.fromkeys(
            step.detail.removeprefix("not run: ") for step in self.steps if step.status == "not-run"
        )
        count = sum(step.status == "not-run" for step in self.steps)
        return UnfitEnvironmentError(
            f"{count} of {len(self.steps)} steps were not run: "
            f"{'; '.join(reasons) or 'there is nothing to check'}"
        )


def check_gpu(bundle: Path | None, *, trust: bool = False, tell: Tell = lambda text: None) -> GpuReport:
    """Run every step on everything that there is to check.

    Args:
        bundle: a bundle's folder; None checks a tiny graph.
        trust: whether engines of the bundle, which are code, are run as well.
        tell: told what is being done.

    Raises:
        UsageError: no such folder.
        IntegrityError: the bundle is damaged.
        MissingDependency: the packages for ONNX are not installed.
    """
    gpu, missing = None, ""
    try:
        gpu = nvidia_gpu()
    except UnfitEnvironmentError as error:
        missing = str(error)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        subjects = bundle_subjects(bundle) if bundle else tiny_subject(place)
        steps: list[Step] = []
        for subject in subjects:
            steps += _check(subject, gpu, missing, trust=trust, place=place, tell=tell)
    return GpuReport(
        gpu=f"{gpu.name} ({gpu.compute})" if gpu else None,
        bundle=str(bundle) if bundle else None,
        steps=steps,
    )


def _check(
    subject: Subject, gpu: Gpu | None, missing: str, *, trust: bool, place: Path, tell: Tell
) -> list[Step]:
    reason = missing if gpu is None else subject.missing
    if not reason and subject.engine is not None and not trust:
        reason = "not run: an engine is code; add --trust if you trust who built it"
    if reason:
        return [_step(subject, name, "not-run", reason) for name in ("build", *_checks(subject))]
    try:
        engine, built = _engine(subject, place, tell)
        runtime = open_runtime(subject.product, engine, trust=True)
    except CompactorError as error:
        skipped = [
            _step(subject, name, "not-run", "not run: there is no engine") for name in _checks(subject)
        ]
        return [_step(subject, "build", "FAILED", str(error)), *skipped]
    with closing(runtime):
        tell(f"{subject.name}: run")
        layers: Callable[[], str] = getattr(runtime, "layers", str)
        return [_step(subject, "build", "passed", built), *check_engine(subject, runtime, layers)]


def _engine(subject: Subject, place: Path, tell: Tell) -> tuple[Path, str]:
    """Where the subject's engine lies, built for this GPU if the bundle holds its graph alone."""
    from compactor_exporters.tensorrt.build import build_engine
    from compactor_runtimes.backends.tensorrt_product import open_product

    if subject.engine is not None:
        return subject.engine, f"built elsewhere, {subject.engine.stat().st_size} bytes"
    assert subject.graph is not None
    trt, started = open_product(subject.product), time.perf_counter()
    gpus = ["current"] if subject.product == "tensorrt-rtx" else []
    content, warnings = build_engine(
        trt,
        subject.graph,
        subject.profile,
        gpus=gpus,
        progress=lambda phase, done, of: tell(f"{subject.name}: {phase} {done}/{of}"),
    )
    path = place / f"{subject.name.replace(' ', '-')}.engine"
    write_whole(path, content)
    told = f", warnings: {'; '.join(dict.fromkeys(warnings))}" if warnings else ""
    seconds = time.perf_counter() - started
    return path, f"{trt.__name__} {trt.__version__}: {len(content)} bytes in {seconds:.1f} s{told}"


def check_engine(subject: Subject, runtime: Runtime, layers: Callable[[], str]) -> list[Step]:
    """Run every step after the build on an open engine; `layers` gives the inspector's JSON."""
    steps = []
    for name, check in _checks(subject).items():
        try:
            passed, detail = check(subject, runtime, layers)
        except CompactorError as error:
            passed, detail = False, str(error)
        steps.append(_step(subject, name, "passed" if passed else "FAILED", detail))
    return steps


def _checks(subject: Subject) -> dict[str, Check]:
    """The steps after the build: those for which the subject holds something to compare with."""
    checks: dict[str, Check] = {}
    if subject.manifest is not None:
        checks["golden cases"] = _golden
    if subject.graph is not None:
        checks["beside ONNX Runtime"] = _beside
    return {**checks, "layer types": _layers, "timing": _time}


def _golden(subject: Subject, runtime: Runtime, layers: Any) -> tuple[bool, str]:
    """The bundle's own checks, with the student's stored outputs."""
    assert subject.manifest is not None
    assert subject.artifact is not None
    rows = check_artifact(runtime, subject.manifest, subject.artifact, subject.cases)
    told = [f"{row.check}: {row.detail}" for row in rows if not row.passed]
    return not told, "; ".join(told) or f"{len(rows)} checks on {len(subject.cases)} cases"


def _beside(subject: Subject, runtime: Runtime, layers: Any) -> tuple[bool, str]:
    """The same feeds through ONNX Runtime and the engine."""
    assert subject.graph is not None
    findings: list[Finding] = []
    with closing(open_runtime("ort-cpu", subject.graph)) as reference:
        for index, feeds in enumerate(subject.feeds):
            expected, found = reference.run(feeds), runtime.run(feeds)
            findings += [
                compare(found[name], expected[name], subject.limits.get(name, inf), f"case {index}, {name!r}")
                for name in expected
            ]
    row = summarise(subject.name, "", findings)
    return row.passed, f"{row.detail} (worst of {row.n})"


def _layers(subject: Subject, runtime: Runtime, layers: Callable[[], str]) -> tuple[bool, str]:
    """How many layers read which type: an int8 engine without an int8 layer is not one."""
    counts = layer_types(layers())
    told = ", ".join(f"{count} {name}" for name, count in counts.items()) or "the inspector tells no layers"
    silent = not counts.keys() - {"unknown"}
    return silent or subject.precision in counts, told


def _time(subject: Subject, runtime: Runtime, layers: Any) -> tuple[bool, str]:
    """One sample at a time, with the copies to the GPU and back."""
    feeds, samples_ns = subject.feeds[0], []
    warm_up(lambda index: runtime.run(feeds))
    for _ in range(RUNS):
        started = time.perf_counter_ns()
        runtime.run(feeds)
        samples_ns.append(time.perf_counter_ns() - started)
    shapes = ", ".join(f"{name}{list(array.shape)}" for name, array in feeds.items())
    middle, p90 = (percentile(samples_ns, q).value_ns or 0.0 for q in (0.5, 0.9))
    return True, f"median {middle / 1e6:.3f} ms, p90 {p90 / 1e6:.3f} ms of {RUNS} runs of {shapes}"


def _step(subject: Subject, name: str, status: Literal["passed", "FAILED", "not-run"], detail: str) -> Step:
    return Step(subject=subject.name, step=name, status=status, detail=detail)
