"""Verify an artifact: what it computes beside the student's own torch output.

1. The grid of shapes, 2. all real samples and 3. edge samples of `samples.py` are run on both sides.
4. Texts are padded: neither the student nor the artifact may answer differently than without padding.
5. fp32: the limit of each output is `MARGIN` times the noise measured on the student itself; see `noise.py`.
6. fp16 and int8 differ by design: agreement and accuracy judge them (`gates.py`). Their limit is
   `REDUCED_MARGIN` times the largest difference found here, and never tighter than that of fp32; a bundle
   that is copied to another CPU is held to it. Padding must stay inside it.
   So is an fp32 artifact that ships by an override although its limit was not kept.
7. NaN, infinity and a shape that does not run fail everywhere, and no override ships them.
8. The weights really have the precision that was asked for, and ranges that samples set say which ones.
9. An engine is verified like any other artifact where its GPU is; elsewhere it stays "not-run", and why.
"""

from collections.abc import Callable, Mapping
from contextlib import closing
from math import inf, isfinite
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from compactor_exporters.graph.weight_types import judge_precision
from compactor_exporters.int8.calibration import judge_calibration
from compactor_exporters.source import ExportSource
from compactor_exporters.verify.findings import Arrays, Finding, gap
from compactor_exporters.verify.noise import judge_noise
from compactor_exporters.verify.output_errors import output_errors
from compactor_exporters.verify.reference import SHAPE_GRID, Known, Progress, Reference
from compactor_exporters.verify.samples import size
from compactor_exporters.verify.text_samples import without_padding
from compactor_exporters.workspace import Workspace
from compactor_runtimes.backends import choose_runtime, is_code, open_files
from compactor_runtimes.bundle.manifest import Artifact, Check, OutputPort, SigmoidPost
from compactor_runtimes.environment import isa_flags
from compactor_runtimes.errors import UnfitEnvironmentError, UsageError
from compactor_runtimes.stats.multi_label import THRESHOLD, decided

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Run = Callable[[Arrays], Arrays]

REDUCED_MARGIN = 2.0
NO_THRESHOLDS: Mapping[str, list[float]] = MappingProxyType({})


def verify_artifact(
    source: ExportSource,
    artifact: Artifact,
    workspace: Workspace,
    *,
    feeds: Arrays,
    progress: Progress | None = None,
) -> Artifact:
    """Verify one artifact; several of one student share a `Reference`, see `verify_against`.

    Raises:
        UsageError: feeds that do not fit the ports.
        IntegrityError: the runtime cannot read the file.
    """
    return verify_against(Reference(source, feeds, progress=progress), artifact, workspace)


def verify_against(
    reference: Reference, artifact: Artifact, workspace: Workspace, *, runtime: str | None = None
) -> Artifact:
    """Compare an artifact with the student and record what was checked.

    Args:
        reference: the student's answers.
        artifact: what an exporter returned.
        workspace: where the artifact's files lie.
        runtime: a name in `backends.RUNTIMES`; None takes the artifact's default.

    Returns:
        The artifact with checks, limits and error statistics: "verified" or, where the recipe says so,
        "overridden", with the runtime's name; "rejected", or of an engine "not-run", with the reason.

    Raises:
        UsageError: the runtime cannot open the artifact.
        IntegrityError: the runtime cannot read the file.
        UnfitEnvironmentError: this machine cannot run what is no engine.
    """
    name = choose_runtime(artifact, runtime)
    try:  # trusted, for it was made here
        deployed = open_files(artifact, workspace.folder.joinpath, runtime=name, trust=True)
    except UnfitEnvironmentError as error:
        if not is_code(artifact):
            raise
        return replace(artifact, status="not-run", reason=str(error))
    found: dict[str, list[Arrays | UsageError]] = {}
    with closing(deployed):
        for group, known in reference.groups.items():
            reference.tell(f"{artifact.name}: {group}")
            found[group] = [_attempt(deployed.run, each.feeds) for each in known]
        padded = [_attempt(deployed.run, each.padded.feeds) for each in reference.padding]
    judged = _judge_answers(reference, artifact, workspace, found, padded)
    fit = [*dict.fromkeys([*artifact.runtimes, name])] if judged.ships else artifact.runtimes
    return replace(judged, runtimes=fit)


def _judge_answers(
    reference: Reference,
    artifact: Artifact,
    workspace: Workspace,
    found: dict[str, list[Arrays | UsageError]],
    padded: list[Arrays | UsageError],
) -> Artifact:
    """Rules 1 to 8 on what the artifact answered, by group of feeds, and on padded texts."""
    exact = artifact.spec.precision == "fp32"
    checks = _judge_weights(artifact, workspace)
    refused = [
        Check(name=name, passed=False, detail=_refusal(each, answer))
        for name, group in reference.groups.items()
        for each, answer in zip(group, found[name], strict=True)
        if isinstance(answer, UsageError)
    ]
    refused += [
        Check(name="padding", passed=False, detail=_refusal(each.padded, answer))
        for each, answer in zip(reference.padding, padded, strict=True)
        if isinstance(answer, UsageError)
    ]
    if refused:
        return _concluded(artifact, [*checks, *refused], {})
    compared = {
        name: [
            (each, answer)
            for each, answer in zip(group, found[name], strict=True)
            if not isinstance(answer, UsageError)
        ]
        for name, group in reference.groups.items()
    }
    limits = reference.noise_limits(workspace)
    if not exact:
        limits = _observed_limits(compared, limits)
    compared |= _compare_padding(reference, padded)
    checks += [_judge(name, group, limits) for name, group in compared.items() if group]
    if exact:
        checks.append(judge_noise(reference.noise(workspace), limits, reference.scales))
    outputs = reference.source.outputs
    if any(port.role == "logits" for port in outputs):
        thresholds = _thresholds(reference.source)
        same = int(
            sum(
                answer_matches(known.outputs, answer, outputs, thresholds).sum()
                for known, answer in compared["real-samples"]
            )
        )
        n = reference.samples
        what = "labels" if thresholds else "top class"
        detail = f"{same} of {n} real samples have the same {what} as the torch student"
        checks.append(Check(name="agreement", passed=True, value=same / n, n=n, detail=detail))
    if artifact.spec.override is not None and not all(check.passed for check in checks):
        limits = _observed_limits(compared, limits)
    errors = output_errors([(each.outputs, answer) for each, answer in compared["real-samples"]], outputs)
    return _concluded(replace(artifact, errors=errors), checks, limits)


def _judge_weights(artifact: Artifact, workspace: Workspace) -> list[Check]:
    """Rule 8; what an engine holds only the inspector of its product tells."""
    spec = artifact.spec
    reads = spec.precision != "fp32" and not is_code(artifact)
    path = workspace.folder / artifact.files[0].path
    checks = [judge_precision(path, spec.precision)] if reads else []
    return checks + ([judge_calibration(artifact)] if spec.quantization == "static" else [])


def answer_matches(
    reference: Arrays,
    found: Arrays,
    outputs: list[OutputPort],
    thresholds: Mapping[str, list[float]] = NO_THRESHOLDS,
) -> "NDArray[np.bool_]":
    """Tell for each sample whether the answer of all logits outputs and positions agrees: bool [N].

    It is the top class or, of an output among `thresholds`, all labels whose probability reaches theirs.
    """
    import numpy as np

    matches = np.ones(len(next(iter(reference.values()))), dtype=bool)
    for port in outputs:
        if port.role == "logits":
            if port.name in thresholds:
                limits = thresholds[port.name]
                same = decided(reference[port.name], limits) == decided(found[port.name], limits)
            else:
                same = reference[port.name].argmax(-1) == found[port.name].argmax(-1)
            matches &= same.reshape(len(same), -1).all(axis=1)
    return matches


def _thresholds(source: ExportSource) -> dict[str, list[float]]:
    """Outputs of which any number of labels may be answered, with the threshold of each label."""
    return {
        post.output: list(post.thresholds) or [THRESHOLD] * len(source.labels[post.labels])
        for post in source.post
        if isinstance(post, SigmoidPost)
    }


def concluded(artifact: Artifact) -> Artifact:
    """Set status and reason by the checks: an override ships what merely differs, never what does not run."""
    failed = [check for check in artifact.checks if not check.passed]
    if not failed:
        return replace(artifact, status="verified", reason="")
    reason = "; ".join(f"{check.name}: {check.detail}" for check in failed)
    if artifact.spec.override is not None and all(check.value is not None for check in failed):
        return replace(artifact, status="overridden", reason=f"{artifact.spec.override} (failed: {reason})")
    return replace(artifact, status="rejected", reason=reason)


def _attempt(run: "Run", feeds: Arrays) -> Arrays | UsageError:
    """Run the graph; one that refuses a shape of its own ports is a finding, not a mistake."""
    try:
        return run(feeds)
    except UsageError as error:
        return error


def _refusal(known: Known, error: UsageError) -> str:
    return f"the graph does not run on {known.shape}, which its ports allow ({error})"


def _observed_limits(
    compared: dict[str, list[tuple[Known, Arrays]]], least: dict[str, float]
) -> dict[str, float]:
    """Rule 6; `least` is what fp32 is allowed."""
    pairs = [pair for group in compared.values() for pair in group]
    return {
        name: max(
            REDUCED_MARGIN * max(_gap(known.outputs[name], answer[name]) for known, answer in pairs), floor
        )
        for name, floor in least.items()
    }


def _gap(one: "NDArray[Any]", other: "NDArray[Any]") -> float:
    return gap(one, other) if one.shape == other.shape else inf


def _compare_padding(
    reference: Reference, padded: list[Arrays | UsageError]
) -> dict[str, list[tuple[Known, Arrays]]]:
    """Rule 4: answers to padded texts, of student and artifact, beside the student's to the plain ones."""
    groups: dict[str, list[tuple[Known, Arrays]]] = {"student-padding": [], "padding": []}
    for each, found in zip(reference.padding, padded, strict=True):
        assert reference.texts is not None
        assert not isinstance(found, UsageError)  # refusals have been told already
        for name, answer in (("student-padding", each.padded.outputs), ("padding", found)):
            cut = without_padding(answer, reference.source.outputs, reference.texts, each.pair.length)
            groups[name].append((Known(each.padded.feeds, each.plain), cut))
    return groups


def _judge(name: str, group: list[tuple[Known, Arrays]], limits: dict[str, float]) -> Check:
    """Rules 1 to 7: the worst difference of a group of feeds, over all outputs and samples."""
    findings = [
        _worst_sample(known, answer, output, limit)
        for known, answer in group
        for output, limit in limits.items()
    ]
    worst = max(findings, key=lambda finding: finding.severity)
    return Check(
        name=name,
        passed=all(finding.passed for finding in findings),
        value=worst.difference if isfinite(worst.difference) else None,
        limit=worst.limit if isfinite(worst.limit) else None,
        n=len(group) if name == SHAPE_GRID else sum(size(known.feeds) for known, _ in group),
        detail=worst.detail,
    )


def _worst_sample(known: Known, answer: Arrays, output: str, limit: float) -> Finding:
    """Compare one output; the sample is the index in its batch."""
    import numpy as np

    reference, found = known.outputs[output], answer[output]
    where = f"output {output!r} on {known.shape}"
    if reference.shape != found.shape:
        return Finding(inf, limit, f"{where}: shape {found.shape} found, {reference.shape} expected")
    for values, whose in ((reference, "student"), (found, "artifact")):
        finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
        if not finite.all():
            first = int(finite.argmin())
            return Finding(inf, limit, f"{where}: NaN or infinity from the {whose}, first in sample {first}")
    gaps = np.abs(found.astype(np.float64) - reference).reshape(len(found), -1).max(axis=1, initial=0.0)
    sample = int(gaps.argmax())
    difference = float(gaps[sample])
    return Finding(
        difference, limit, f"{where}: difference {difference:.3g}, limit {limit:.3g}, in sample {sample}"
    )


def _concluded(artifact: Artifact, checks: list[Check], limits: dict[str, float]) -> Artifact:
    """Attach checks, limits and the CPU's instruction sets, and conclude."""
    finite = {name: limit for name, limit in limits.items() if isfinite(limit)}
    return concluded(replace(artifact, checks=checks, limits=finite, isa=isa_flags()))
