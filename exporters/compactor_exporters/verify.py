"""Verify an fp32 artifact: its numbers against the student's own torch output, within a measured limit.

1. The grid of shapes, 2. all real samples and 3. edge samples of `samples.py` are run on both sides.
4. Texts are padded: neither the student nor the artifact may answer differently than without padding.
5. The limit of each output is `MARGIN` times the noise measured on the student itself; see `noise.py`.
6. NaN and infinity fail everywhere.
"""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from dataclasses import replace as replace_fields
from math import inf, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from compactor_exporters.findings import Finding, largest_magnitude
from compactor_exporters.noise import NOISE_SAMPLES, judge_noise, measure_noise, noise_limit
from compactor_exporters.samples import LARGEST_BATCH, batches, count_samples, edge_samples, shape_grid, size
from compactor_exporters.source import ExportSource, forward
from compactor_exporters.text_samples import padded_pairs, real_tokens, text_ports, without_padding
from compactor_runtimes.backends.ort import open_runtime
from compactor_runtimes.errors import UsageError
from compactor_runtimes.manifest import Artifact, Check, OutputPort

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]

Progress = Callable[[str], None]


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
        compared |= _compare_padding(source, deployed.run, feeds)
    refused = [(name, each.refusal) for name, group in compared.items() for each in group if each.refusal]
    if refused:
        checks = [Check(name=name, passed=False, detail=refusal) for name, refusal in refused]
        return _concluded(artifact, checks, {})
    tell("noise-floor")
    noise_feeds = [next(batches(feeds, min(largest, NOISE_SAMPLES))), *sets["edge-samples"]]
    noise_feeds += [batch for batch in sets["shape-grid"] if size(batch) <= 2]
    noise = measure_noise(source, path, noise_feeds)
    scales = {
        port.name: max(
            largest_magnitude(each.reference[port.name]) for group in compared.values() for each in group
        )
        for port in source.outputs
    }
    limits = {name: noise_limit(kinds, scales[name]) for name, kinds in noise.items()}
    checks = [_judge(name, group, limits) for name, group in compared.items() if group]
    checks.append(judge_noise(noise, limits, scales))
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


def _compare_padding(
    source: ExportSource, run: "Callable[[Arrays], Arrays]", feeds: "Arrays"
) -> dict[str, list[_Compared]]:
    """Rule 4: answers to padded texts, of student and artifact, beside the student's to the plain ones."""
    texts = text_ports(source)
    if texts is None:
        return {}
    groups: dict[str, list[_Compared]] = {"student-padding": [], "padding": []}
    for pair in padded_pairs(texts, real_tokens(source, texts, feeds)):
        plain, padded = forward(source, pair.plain), _compare(source, run, pair.padded)
        for name, answer in (("student-padding", padded.reference), ("padding", padded.found)):
            found = without_padding(answer, source.outputs, texts, pair.length) if answer else {}
            groups[name].append(replace_fields(padded, reference=plain, found=found))
    return groups


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
    """Rules 1 to 4 and 6: the worst difference of a group of feeds, over all outputs and samples."""
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


def _worst_sample(each: _Compared, output: str, limit: float) -> Finding:
    """Compare one output; the sample is the index in its batch."""
    import numpy as np

    reference, found = each.reference[output], each.found[output]
    where = f"output {output!r} on {each.shape}"
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
    """Attach checks and limits; the reason of a rejection is the first failed check."""
    failed = [check for check in checks if not check.passed]
    return replace(
        artifact,
        checks=checks,
        limits={name: limit for name, limit in limits.items() if isfinite(limit)},
        status="rejected" if failed else "verified",
        reason=f"{failed[0].name}: {failed[0].detail}" if failed else "",
    )
