"""The checks on what golden cases decode to, one row for each entry of a manifest's `post`.

1. What is decoded is what was stored, as each kind of answer compares it.
2. Where an artifact that differs by design, or by an override, answers otherwise, the two answers must be so
   close in the stored outputs that its own limits allow it.
"""

from collections.abc import Sequence
from math import nan
from typing import TYPE_CHECKING

from compactor_runtimes.bundle.manifest import Artifact, Manifest
from compactor_runtimes.errors import IntegrityError, UsageError
from compactor_runtimes.golden.findings import Allowed, Case, Finding, Row, summarise
from compactor_runtimes.predict.answers import Codec, open_codec

if TYPE_CHECKING:
    from compactor_runtimes.golden.findings import Arrays

# Of a probability, and of each number of a vector of length 1.
DECODED_LIMIT = {"fp32": 1e-3, "fp16": 0.05, "int8": 0.05}


def check_decoding(
    ran: "Sequence[Arrays | UsageError]", manifest: Manifest, artifact: Artifact, cases: Sequence[Case]
) -> list[Row]:
    """Decode what an artifact gave for each case, or why it refused, and compare with what was stored."""
    rows = []
    exact = artifact.spec.precision == "fp32" and artifact.status != "overridden"
    precision = "int8" if artifact.spec.precision == "fp32" and not exact else artifact.spec.precision
    for place, post in enumerate(manifest.post):
        codec, of_output = open_codec(post, manifest.labels), artifact.limits[post.output]
        limit = codec.limit(DECODED_LIMIT[precision], of_output, exact=exact)
        allowed = Allowed(limit, 0.0 if exact else 2 * of_output)
        findings = [_judge(codec, one, each, place, allowed) for one, each in zip(ran, cases, strict=True)]
        rows.append(summarise(artifact.name, f"decoding of {post.output}", findings))
    return rows


def _judge(codec: Codec, ran: "Arrays | UsageError", each: Case, place: int, allowed: Allowed) -> Finding:
    import numpy as np

    what = f"case {each.case.id!r}, output {codec.output!r}"

    def failed(why: str) -> Finding:
        return Finding(False, nan, allowed.limit, f"{what}: {why}")

    if isinstance(ran, UsageError):
        return failed(str(ran))
    if not np.isfinite(ran[codec.output]).all():
        return failed("NaN or infinity cannot be decoded")
    if codec.reads_words and each.words is None:
        return failed("its text cannot be read, so it has no words")
    words = [] if each.words is None else [each.words]
    try:
        return codec.compare(ran, each.decoded[place], each.outputs, words, allowed=allowed, what=what)
    except IntegrityError as error:
        return failed(str(error))
