"""The checks on golden cases, each a row with its verdict; reading the cases is `golden.py`.

1. Raw file -> pipeline equals the stored feeds: exactly, or within 2 grey levels where there is a resize,
   which may differ between releases of PIL. Token ids and masks have no tolerance.
2. Stored feeds -> graph equals the stored outputs within the artifact's limits, one by one and as batches.
3. The decoded label, index and confidence are the stored ones; of an embedding, all numbers of its vector.
   Where an artifact that differs by design, or by an override, answers another class, the two classes must
   be so close in the stored outputs that its own limits allow it.
"""

from collections.abc import Sequence
from math import nan, tanh
from pathlib import Path
from typing import TYPE_CHECKING

from compactor_runtimes.errors import IntegrityError, UsageError
from compactor_runtimes.golden_batches import check_batches
from compactor_runtimes.golden_findings import Case, Decoded, Finding, Row, attempt, compare, summarise, worst
from compactor_runtimes.manifest import (
    Artifact,
    EmbeddingPost,
    ImagePre,
    Manifest,
    Post,
    Pre,
    Resize,
    TextPre,
    ToFloat,
)
from compactor_runtimes.postprocess import Decoder, Embedder, Prediction, open_decoder
from compactor_runtimes.preprocess import feeds_from
from compactor_runtimes.runtime import Runtime

if TYPE_CHECKING:
    from compactor_runtimes.golden_findings import Arrays

# Of a probability, and of each number of a vector of length 1.
DECODED_LIMIT = {"fp32": 1e-3, "fp16": 0.05, "int8": 0.05}


def check_preprocessing(pre: Pre, assets: Path, raws: list[Path], cases: Sequence[Case]) -> Row:
    """Rule 1, once for a bundle; `raws` are the raw files of `cases`, `assets` is the bundle's folder.

    Raises:
        IntegrityError: a tokenizer that cannot be read.
    """
    inputs = (pre.ids, pre.mask) if isinstance(pre, TextPre) else (pre.input,)
    limit, to_feeds = _preprocessing_limit(pre), feeds_from([pre], assets)
    findings = []
    for raw, each in zip(raws, cases, strict=True):
        what = f"case {each.case.id!r} ({each.case.raw})"
        try:
            found = to_feeds([raw])
        except UsageError as error:
            findings.append(Finding(False, nan, limit, f"{what}: {error}"))
        else:
            findings.append(
                worst(
                    [
                        compare(found[name], each.feeds[name], limit, f"{what}, input {name!r}")
                        for name in inputs
                    ]
                )
            )
    return summarise("bundle", f"preprocessing of {' and '.join(inputs)}", findings)


def check_artifact(runtime: Runtime, manifest: Manifest, artifact: Artifact, cases: list[Case]) -> list[Row]:
    """Rules 2 and 3 for one opened artifact."""
    rows = []
    singles = [attempt(runtime, each.feeds) for each in cases]
    for port in manifest.main.outputs:
        limit = artifact.limits[port.name]
        findings = []
        for each, ran in zip(cases, singles, strict=True):
            what = f"case {each.case.id!r}, output {port.name!r}"
            if isinstance(ran, UsageError):
                findings.append(Finding(False, nan, limit, f"{what}: {ran}"))
            else:
                findings.append(compare(ran[port.name], each.outputs[port.name], limit, what))
        rows.append(summarise(artifact.name, f"output {port.name}", findings))
    rows += check_batches(runtime, manifest, artifact, cases)
    for post in manifest.post:
        decode, limit = open_decoder(post, manifest.labels), _decoded_limit(post, artifact)
        tie = 0.0 if _is_exact(artifact) else 2 * artifact.limits[post.output]
        findings = [
            _judge_decoded(decode, ran, each, limit, tie) for each, ran in zip(cases, singles, strict=True)
        ]
        rows.append(summarise(artifact.name, f"decoding of {post.output}", findings))
    return rows


def _preprocessing_limit(pre: Pre) -> float:
    if not isinstance(pre, ImagePre) or not any(isinstance(step, Resize) for step in pre.steps):
        return 0.0
    return 2 * next(step.scale for step in pre.steps if isinstance(step, ToFloat))


def _decoded_limit(post: Post, artifact: Artifact) -> float:
    """A vector that is not normalised is the output itself and keeps to its limit.

    Logits that may differ by l move a probability by tanh(l / 2) at most.
    """
    if isinstance(post, EmbeddingPost) and not post.normalize:
        return artifact.limits[post.output]
    if _is_exact(artifact):
        return DECODED_LIMIT["fp32"]
    least = DECODED_LIMIT["int8" if artifact.spec.precision == "fp32" else artifact.spec.precision]
    if isinstance(post, EmbeddingPost):
        return least
    return max(least, tanh(artifact.limits[post.output] / 2))


def _is_exact(artifact: Artifact) -> bool:
    """Whether it computes what the student does, up to rounding."""
    return artifact.spec.precision == "fp32" and artifact.status != "overridden"


def _judge_decoded(
    decode: Decoder | Embedder, ran: "Arrays | UsageError", each: Case, limit: float, tie: float
) -> Finding:
    """`tie` is the difference of two stored logits up to which either class is right."""
    import numpy as np

    what = f"case {each.case.id!r}, output {decode.output!r}"
    if isinstance(ran, UsageError):
        return Finding(False, nan, limit, f"{what}: {ran}")
    values = ran[decode.output]
    if not np.isfinite(values).all():
        return Finding(False, nan, limit, f"{what}: NaN or infinity cannot be decoded")
    try:
        found = decode(values)[0]
    except IntegrityError as error:
        return Finding(False, nan, limit, f"{what}: {error}")
    stored = each.decoded
    if isinstance(found, Prediction):
        assert isinstance(stored, Decoded)  # as golden.py read it
        scores = each.outputs[decode.output][0]
        known = 0 <= stored.index < len(scores) == len(found.probabilities)
        tied = known and abs(scores[stored.index] - scores[found.index]) < tie
        return _compare_classes(found, stored, limit, what, tied=bool(tied))
    assert not isinstance(stored, Decoded)
    return compare(found.vector[None], stored, limit, f"{what}, decoded vector")


def _compare_classes(found: Prediction, stored: Decoded, limit: float, what: str, *, tied: bool) -> Finding:
    value = abs(found.confidence - stored.confidence)
    same = (found.label, found.index) == (stored.label, stored.index)
    tied &= found.index != stored.index
    return Finding(
        (same or tied) and value <= limit,
        value,
        limit,
        f"{what}: {found.label!r} (class {found.index}) at {found.confidence:.4f} found, {stored.label!r} "
        f"(class {stored.index}) at {stored.confidence:.4f} expected, confidence within {limit:.3g}",
    )
