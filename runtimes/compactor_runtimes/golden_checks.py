"""The checks on golden cases, each a row with its verdict; reading the cases is `golden.py`.

1. Raw file -> pipeline equals the stored feeds: exactly, or within 2 grey levels where there is a resize,
   which may differ between releases of PIL.
2. Stored feeds -> graph equals the stored outputs within the artifact's limits, one by one and as batches.
3. The decoded label, index and confidence are the stored ones.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from compactor_runtimes.errors import IntegrityError, UsageError
from compactor_runtimes.manifest import Artifact, GoldenCase, ImagePre, Manifest, Resize, ToFloat
from compactor_runtimes.postprocess import Decoder
from compactor_runtimes.preprocess import ImagePipeline
from compactor_runtimes.runtime import Runtime

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]

CONFIDENCE_LIMIT = {"fp32": 1e-3, "fp16": 0.05, "int8": 0.05}


class Row(Struct, frozen=True, kw_only=True):
    """One check over `n` cases; `artifact` is "bundle" for preprocessing, which all artifacts share.

    `value` is the largest absolute difference found (None where shapes differ, a run is refused or a value is
    not finite), `detail` the sentence on the worst case.
    """

    artifact: str
    check: str
    passed: bool
    value: float | None
    limit: float
    n: int
    detail: str


class Decoded(Struct, frozen=True):
    """The stored result of a golden case after decoding."""

    label: str
    index: int
    confidence: float


@dataclass(frozen=True)
class Case:
    """A golden case with its stored arrays by port name, each [1, ...], and its stored result."""

    case: GoldenCase
    decoded: Decoded
    feeds: "Arrays"
    outputs: "Arrays"


@dataclass(frozen=True)
class _Finding:
    """The verdict on one output of one case; `value` is NaN where there is no difference to measure."""

    passed: bool
    value: float
    limit: float
    detail: str


def check_preprocessing(
    pipeline: ImagePipeline, pre: ImagePre, raws: list[Path], cases: Sequence[Case]
) -> Row:
    """Rule 1, once for a bundle; `raws` are the raw files of `cases`."""
    scale = next(step.scale for step in pre.steps if isinstance(step, ToFloat))
    limit = 2 * scale if any(isinstance(step, Resize) for step in pre.steps) else 0.0
    findings = []
    for raw, each in zip(raws, cases, strict=True):
        what = f"case {each.case.id!r} ({each.case.raw}), input {pre.input!r}"
        try:
            found = pipeline([raw])
        except UsageError as error:
            findings.append(_Finding(False, nan, limit, f"{what}: {error}"))
        else:
            findings.append(_compare(found, each.feeds[pre.input], limit, what))
    return _row("bundle", f"preprocessing of {pre.input}", findings)


def check_artifact(runtime: Runtime, manifest: Manifest, artifact: Artifact, cases: list[Case]) -> list[Row]:
    """Rules 2 and 3 for one opened artifact."""
    rows = []
    singles = [_attempt(runtime, each.feeds) for each in cases]
    for port in manifest.main.outputs:
        limit = artifact.limits[port.name]
        findings = [
            _judge(ran, each, port.name, limit, f"case {each.case.id!r}, output {port.name!r}")
            for each, ran in zip(cases, singles, strict=True)
        ]
        rows.append(_row(artifact.name, f"output {port.name}", findings))
    # An axis that is declared fixed has no batches to try.
    largest = min(port.max[0] if isinstance(port.axes[0], str) else 1 for port in manifest.main.inputs)
    if largest > 1:
        rows += _check_batches(runtime, artifact, cases, largest)
    for post in manifest.post:
        decoder, limit = (
            Decoder(post, manifest.labels[post.labels]),
            CONFIDENCE_LIMIT[artifact.spec.precision],
        )
        findings = [
            _judge_decoded(decoder, ran, each, limit) for each, ran in zip(cases, singles, strict=True)
        ]
        rows.append(_row(artifact.name, f"decoding of {post.output}", findings))
    return rows


def _check_batches(runtime: Runtime, artifact: Artifact, cases: list[Case], largest: int) -> Iterator[Row]:
    """Rule 2 on stacked cases: a batch axis that was frozen at export shows only here."""
    import numpy as np

    findings: dict[str, list[_Finding]] = {output: [] for output in cases[0].outputs}
    for batch in _batches(cases, largest):
        feeds = {name: np.concatenate([each.feeds[name] for each in batch]) for name in batch[0].feeds}
        ran = _attempt(runtime, feeds)
        for output, collected in findings.items():
            limit = artifact.limits[output]
            for index, each in enumerate(batch):
                what = f"case {each.case.id!r}, output {output!r} in a batch of {len(batch)}"
                if isinstance(ran, UsageError):
                    detail = (
                        f"{what}: refused, so the declared dynamic batch axis is frozen in the graph ({ran})"
                    )
                    collected.append(_Finding(False, nan, limit, detail))
                elif ran[output].shape[:1] != (len(batch),):
                    detail = (
                        f"{what}: shape {ran[output].shape} found, so the batch axis is frozen in the graph"
                    )
                    collected.append(_Finding(False, nan, limit, detail))
                else:
                    collected.append(
                        _compare(ran[output][index : index + 1], each.outputs[output], limit, what)
                    )
    for output, collected in findings.items():
        yield _row(artifact.name, f"output {output}, batched", collected)


def _batches(cases: Sequence[Case], largest: int) -> Iterator[list[Case]]:
    """Group cases of equal feed shapes into batches of 2 to `largest`; a case on its own goes in twice."""
    groups: dict[Any, list[Case]] = {}
    for each in cases:
        groups.setdefault(tuple(feed.shape for feed in each.feeds.values()), []).append(each)
    for group in groups.values():
        for start in range(0, len(group), largest):
            part = group[start : start + largest]
            yield part if len(part) > 1 else part * 2


def _attempt(runtime: Runtime, feeds: "Arrays") -> "Arrays | UsageError":
    """Run, and keep a refusal as a result: it is a failed check, not the caller's mistake."""
    try:
        return runtime.run(feeds)
    except UsageError as error:
        return error


def _judge(ran: "Arrays | UsageError", each: Case, output: str, limit: float, what: str) -> _Finding:
    if isinstance(ran, UsageError):
        return _Finding(False, nan, limit, f"{what}: {ran}")
    return _compare(ran[output], each.outputs[output], limit, what)


def _judge_decoded(decoder: Decoder, ran: "Arrays | UsageError", each: Case, limit: float) -> _Finding:
    import numpy as np

    what = f"case {each.case.id!r}, output {decoder.output!r}"
    if isinstance(ran, UsageError):
        return _Finding(False, nan, limit, f"{what}: {ran}")
    logits = ran[decoder.output]
    if not np.isfinite(logits).all():
        return _Finding(False, nan, limit, f"{what}: NaN or infinity cannot be decoded")
    try:
        found = decoder(logits)[0]
    except IntegrityError as error:
        return _Finding(False, nan, limit, f"{what}: {error}")
    stored = each.decoded
    value = abs(found.confidence - stored.confidence)
    same = (found.label, found.index) == (stored.label, stored.index)
    return _Finding(
        same and value <= limit,
        value,
        limit,
        f"{what}: {found.label!r} (class {found.index}) at {found.confidence:.4f} found, {stored.label!r} "
        f"(class {stored.index}) at {stored.confidence:.4f} expected, confidence within {limit:.3g}",
    )


def _compare(found: "NDArray[Any]", stored: "NDArray[Any]", limit: float, what: str) -> _Finding:
    import numpy as np

    if found.shape != stored.shape:
        return _Finding(False, nan, limit, f"{what}: shape {found.shape} found, {stored.shape} expected")
    if not (np.isfinite(found).all() and np.isfinite(stored).all()):
        return _Finding(False, nan, limit, f"{what}: NaN or infinity found, finite numbers expected")
    value = float(np.abs(found.astype(np.float64) - stored.astype(np.float64)).max(initial=0.0))
    return _Finding(value <= limit, value, limit, f"{what}: difference {value:.3g} found, limit {limit:.3g}")


def _row(artifact: str, check: str, findings: Sequence[_Finding]) -> Row:
    """Summarise findings by the worst: failed before passed, unmeasurable before large."""
    worst = max(findings, key=lambda each: (not each.passed, isnan(each.value), each.value))
    return Row(
        artifact=artifact,
        check=check,
        passed=worst.passed,
        value=None if isnan(worst.value) else worst.value,
        limit=worst.limit,
        n=len(findings),
        detail=worst.detail,
    )
