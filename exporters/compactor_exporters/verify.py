"""Verify an fp32 artifact: its numbers against the student's own torch output, within a measured limit.

1. The grid of shapes, 2. all real samples and 3. edge samples of `samples.py` are run on both sides.
4. The limit of each output is `MARGIN` times the noise measured on the student itself; see `_measure_noise`.
5. NaN and infinity fail everywhere.
"""

import os
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from copy import deepcopy
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from compactor_exporters.samples import LARGEST_BATCH, batches, count_samples, edge_samples, shape_grid, size
from compactor_exporters.source import ExportSource, forward
from compactor_runtimes.backends.ort import open_runtime
from compactor_runtimes.errors import UsageError, needs_extra
from compactor_runtimes.manifest import Artifact, Check, OutputPort

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]

Progress = Callable[[str], None]

MARGIN = 8.0
NOISE_SAMPLES = 64

# A noise above this share of the largest output is not rounding: something (a wrong fusion, an unstable
# layer) makes the student disagree with itself, and a limit built on it would let anything pass.
LARGEST_NOISE = 1e-3


@dataclass(frozen=True)
class _Compared:
    """One set of feeds with both answers; a `refusal` says why the graph did not run."""

    feeds: "Arrays"
    reference: "Arrays"
    found: "Arrays"
    refusal: str = ""

    @property
    def shape(self) -> str:
        """The shapes of the feeds, for messages."""
        return ", ".join(f"{name} {list(values.shape)}" for name, values in self.feeds.items())


@dataclass(frozen=True)
class _Finding:
    """A difference of one output against its limit; infinite where no number can be given."""

    difference: float
    limit: float
    detail: str

    @property
    def passed(self) -> bool:
        """Whether it is within the limit."""
        return isfinite(self.difference) and self.difference <= self.limit

    @property
    def severity(self) -> float:
        """Difference in units of the limit, to choose the worst."""
        if not isfinite(self.difference):
            return inf
        return self.difference / self.limit if self.limit else (inf if self.difference else 0.0)


def verify_artifact(
    source: ExportSource,
    artifact: Artifact,
    folder: Path,
    *,
    feeds: "Arrays",
    progress: Progress | None = None,
) -> Artifact:
    """Compare an artifact with the student and record what was checked.

    Args:
        source: the student; `source.module` in torch float32 is the reference.
        artifact: what an exporter returned; its first file is opened.
        folder: where the artifact's files lie.
        feeds: real samples of the select split, one array [N, ...] for each input.
        progress: called with a word on each step.

    Returns:
        The artifact with checks and limits: "verified", or "rejected" with the reason.

    Raises:
        UsageError: feeds that do not fit the ports, or a precision that is not judged by numbers.
        IntegrityError: ONNX Runtime cannot read the file.
    """
    if artifact.spec.precision != "fp32":
        raise UsageError(
            f"artifact {artifact.name!r}: precision {artifact.spec.precision} is judged by agreement "
            f"and metric drop, "
            "only fp32 by its numbers; use the functions of gates"
        )
    samples = count_samples(source, feeds)
    largest = min(source.axis_bounds[source.batch_axis][1], LARGEST_BATCH)
    sets = {
        "shape-grid": list(shape_grid(source, feeds)),
        "real-samples": list(batches(feeds, largest)),
        "edge-samples": [batch for edges in edge_samples(source, feeds) for batch in batches(edges, largest)],
    }
    tell = progress or (lambda step: None)
    path = folder / artifact.files[0].path
    compared: dict[str, list[_Compared]] = {}
    with closing(open_runtime(path)) as deployed:
        for name, group in sets.items():
            tell(name)
            compared[name] = [_compare(source, deployed.run, batch) for batch in group]
    refused = [(name, each.refusal) for name, group in compared.items() for each in group if each.refusal]
    if refused:
        checks = [Check(name=name, passed=False, detail=refusal) for name, refusal in refused]
        return _concluded(artifact, checks, {})
    tell("noise-floor")
    noise_feeds = [next(batches(feeds, min(largest, NOISE_SAMPLES))), *sets["edge-samples"]]
    noise_feeds += [batch for batch in sets["shape-grid"] if size(batch) <= 2]
    noise = _measure_noise(source, path, noise_feeds)
    scales = {
        port.name: max(_largest(each.reference[port.name]) for group in compared.values() for each in group)
        for port in source.outputs
    }
    limits = {name: _limit(kinds, scales[name]) for name, kinds in noise.items()}
    checks = [_judge(name, group, limits) for name, group in compared.items() if group]
    checks.append(_judge_noise(noise, limits, scales))
    if any(port.role == "logits" for port in source.outputs):
        matches = [
            top1_matches(each.reference, each.found, source.outputs) for each in compared["real-samples"]
        ]
        same = int(sum(part.sum() for part in matches))
        detail = f"{same} of {samples} real samples have the same top class as the torch student"
        checks.append(Check(name="agreement", passed=True, value=same / samples, n=samples, detail=detail))
    return _concluded(artifact, checks, limits)


def top1_matches(reference: "Arrays", found: "Arrays", outputs: list[OutputPort]) -> "NDArray[np.bool_]":
    """Tell for each sample whether the top class of all logits outputs and positions agrees: bool [N]."""
    import numpy as np

    matches = np.ones(len(next(iter(reference.values()))), dtype=bool)
    for port in outputs:
        if port.role == "logits":
            same = reference[port.name].argmax(-1) == found[port.name].argmax(-1)
            matches &= same.reshape(len(same), -1).all(axis=1)
    return matches


def _compare(source: ExportSource, run: "Callable[[Arrays], Arrays]", feeds: "Arrays") -> _Compared:
    """Run both sides; a graph that refuses a shape of its own ports is a finding, not a mistake."""
    reference = forward(source, feeds)
    try:
        return _Compared(feeds, reference, run(feeds))
    except UsageError as error:
        shapes = _Compared(feeds, reference, {}).shape
        return _Compared(
            feeds, reference, {}, f"the graph does not run on {shapes}, which its ports allow ({error})"
        )


def _judge(name: str, group: list[_Compared], limits: dict[str, float]) -> Check:
    """Rules 1 to 3 and 5: the worst difference of a group of feeds, over all outputs and samples."""
    findings = [_worst_sample(each, output, limit) for each in group for output, limit in limits.items()]
    worst = max(findings, key=lambda finding: finding.severity)
    return Check(
        name=name,
        passed=all(finding.passed for finding in findings),
        value=worst.difference if isfinite(worst.difference) else None,
        limit=worst.limit if isfinite(worst.limit) else None,
        n=len(group) if name == "shape-grid" else sum(size(each.feeds) for each in group),
        detail=worst.detail,
    )


def _worst_sample(each: _Compared, output: str, limit: float) -> _Finding:
    """Compare one output; the sample is the index in its batch."""
    import numpy as np

    reference, found = each.reference[output], each.found[output]
    where = f"output {output!r} on {each.shape}"
    if reference.shape != found.shape:
        return _Finding(inf, limit, f"{where}: shape {found.shape} found, {reference.shape} expected")
    for values, whose in ((reference, "student"), (found, "artifact")):
        finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
        if not finite.all():
            first = int(finite.argmin())
            return _Finding(inf, limit, f"{where}: NaN or infinity from the {whose}, first in sample {first}")
    gaps = np.abs(found.astype(np.float64) - reference).reshape(len(found), -1).max(axis=1, initial=0.0)
    sample = int(gaps.argmax())
    difference = float(gaps[sample])
    return _Finding(
        difference, limit, f"{where}: difference {difference:.3g}, limit {limit:.3g}, in sample {sample}"
    )


def _measure_noise(source: ExportSource, path: Path, feeds: "list[Arrays]") -> dict[str, dict[str, float]]:
    """Rule 4: how much each output moves when nothing that matters is changed, by kind of change.

    The difference that is judged, torch against ONNX Runtime, does not enter: a wrong weight would raise its
    own limit. Torch is compared with torch, and the graph with itself.
    """
    with needs_extra("export"):
        import torch

    many, before = max(2, os.cpu_count() or 2), torch.get_num_threads()
    double = deepcopy(source.module).double()
    noise: dict[str, dict[str, float]] = {port.name: {} for port in source.outputs}

    def note(kind: str, one: "Arrays", other: "Arrays") -> None:
        for name, kinds in noise.items():
            kinds[kind] = max(kinds.get(kind, 0.0), _gap(one[name], other[name]))

    with ExitStack() as stack:
        single = stack.enter_context(closing(open_runtime(path, threads=1)))
        threaded = stack.enter_context(closing(open_runtime(path, threads=many)))
        plain = stack.enter_context(closing(open_runtime(path, threads=1, optimization="none")))
        stack.callback(torch.set_num_threads, before)
        for batch in feeds:
            torch.set_num_threads(1)
            reference = forward(source, batch)
            # A forward that casts to float32 by itself cannot run in float64; the limit is then the tighter.
            with suppress(RuntimeError):
                note(
                    "torch float32 vs float64", reference, forward(source, batch, module=double, double=True)
                )
            torch.set_num_threads(many)
            note("torch 1 thread vs many", reference, forward(source, batch))
            graph = single.run(batch)
            note("graph 1 thread vs many", graph, threaded.run(batch))
            note("graph optimised vs not", graph, plain.run(batch))
    return noise


def _judge_noise(
    noise: dict[str, dict[str, float]], limits: dict[str, float], scales: dict[str, float]
) -> Check:
    """Refuse a limit that is too wide to mean anything, and record what it is made of."""
    findings = [
        _Finding(
            max(kinds.values()),
            LARGEST_NOISE * scales[name],
            f"output {name!r}: "
            + ", ".join(f"{kind} {value:.3g}" for kind, value in kinds.items())
            + f"; limit {limits[name]:.3g} at outputs up to {scales[name]:.3g}",
        )
        for name, kinds in noise.items()
    ]
    worst = max(findings, key=lambda finding: finding.severity)
    passed = all(finding.passed for finding in findings)
    return Check(
        name="noise-floor",
        passed=passed,
        value=worst.difference if isfinite(worst.difference) else None,
        limit=worst.limit if isfinite(worst.limit) else None,
        detail="; ".join(finding.detail for finding in findings) if passed else worst.detail,
    )


def _limit(kinds: dict[str, float], scale: float) -> float:
    """Largest allowed absolute difference of an output whose largest magnitude is `scale`."""
    import numpy as np

    return MARGIN * max(*kinds.values(), float(np.finfo(np.float32).eps) * scale)


def _concluded(artifact: Artifact, checks: list[Check], limits: dict[str, float]) -> Artifact:
    """Attach checks and limits; the reason of a rejection is the first failed check."""
    failed = [check for check in checks if not check.passed]
    return replace(
        artifact,
        checks=checks,
        limits={name: limit for name, limit in limits.items() if isfinite(limit)},
        status="rejected" if failed else "verified",
        reason=f"{failed[0].name}: {failed[0].detail}" if failed else "",
    )


def _largest(values: "NDArray[Any]") -> float:
    """Largest finite magnitude."""
    import numpy as np

    return float(np.abs(values).max(initial=0.0, where=np.isfinite(values)))


def _gap(one: "NDArray[Any]", other: "NDArray[Any]") -> float:
    """Largest absolute difference, infinite if it is not a number."""
    import numpy as np

    with np.errstate(invalid="ignore"):
        gap = float(np.abs(one.astype("float64") - other.astype("float64")).max(initial=0.0))
    return gap if isfinite(gap) else inf
