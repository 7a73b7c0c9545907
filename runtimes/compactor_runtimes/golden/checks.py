"""The checks on golden cases, each a row with its verdict; reading the cases is `verify.py`.

1. Raw file -> pipeline equals the stored feeds: exactly, or within 2 grey levels where there is a resize,
   which may differ between releases of PIL. Token ids and masks have no tolerance.
2. Stored feeds -> graph equals the stored outputs within the artifact's limits, one by one and as batches.
3. What is decoded from them is what was stored (`decoded.py`).
"""

from collections.abc import Sequence
from math import isfinite, nan

from compactor_runtimes.backends import Runtime
from compactor_runtimes.bundle.manifest import (
    Artifact,
    Cover,
    ImagePre,
    Manifest,
    Pre,
    Resize,
    TextPre,
    ToFloat,
)
from compactor_runtimes.bundle.open import Bundle
from compactor_runtimes.errors import UsageError
from compactor_runtimes.golden.batches import check_batches
from compactor_runtimes.golden.decoded import check_decoding
from compactor_runtimes.golden.findings import Case, Finding, Row, attempt, compare, summarise, worst
from compactor_runtimes.predict.images import feeds_from

MOST_OF_RANGE = 4  # an artifact that is off by so much of its largest value is another model


def check_preprocessing(bundle: Bundle, pre: Pre, cases: Sequence[Case]) -> Row:
    """Rule 1, once for an entry of a bundle's `pre`; what is read was hashed (`Bundle.read`).

    Raises:
        IntegrityError: a tokenizer or a raw file that cannot be read.
    """
    inputs = (pre.ids, pre.mask) if isinstance(pre, TextPre) else (pre.input,)
    limit, to_feeds = _preprocessing_limit(pre), feeds_from([pre], bundle.path, read=bundle.read)
    findings = []
    for each in cases:
        what = f"case {each.case.id!r} ({each.case.raw})"
        raw = bundle.read(each.case.raw)
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
    """Rules 2 and 3 for one opened artifact; a limit that nothing could exceed fails."""
    rows = []
    singles = [attempt(runtime, each.feeds) for each in cases]
    for port in manifest.main.outputs:
        limit = artifact.limits[port.name]
        findings = [each for each in [_meaning(limit, cases, port.name)] if not each.passed]
        for each, ran in zip(cases, singles, strict=True):
            what = f"case {each.case.id!r}, output {port.name!r}"
            if isinstance(ran, UsageError):
                findings.append(Finding(False, nan, limit, f"{what}: {ran}"))
            else:
                findings.append(compare(ran[port.name], each.outputs[port.name], limit, what))
        rows.append(summarise(artifact.name, f"output {port.name}", findings))
    rows += check_batches(runtime, manifest, artifact, cases)
    return rows + check_decoding(singles, manifest, artifact, cases)


def _meaning(limit: float, cases: Sequence[Case], output: str) -> Finding:
    """Whether the limit of an output could be exceeded at all by what lies in its range."""
    import numpy as np

    largest = max(float(np.abs(each.outputs[output]).max(initial=0.0)) for each in cases)
    detail = f"limit {limit:.3g} of output {output!r} found, of values up to {largest:.3g} it proves nothing"
    return Finding(not isfinite(largest) or limit <= MOST_OF_RANGE * largest, 0.0, limit, detail)


def _preprocessing_limit(pre: Pre) -> float:
    if not isinstance(pre, ImagePre) or not any(isinstance(step, Resize | Cover) for step in pre.steps):
        return 0.0
    return 2 * next(step.scale for step in pre.steps if isinstance(step, ToFloat))
