"""The checks on what golden cases decode to, one row for each entry of a manifest's `post`.

1. Label, index and confidence of a class are the stored ones; of an embedding, all numbers of its vector.
2. Name, place, value and confidence of each slot are the stored ones.
3. Where an artifact that differs by design, or by an override, answers another class, or gives a word another
   label, the two must be so close in the stored outputs that its own limits allow it.
"""

from collections.abc import Sequence
from math import nan, tanh
from typing import TYPE_CHECKING, Any

from compactor_runtimes.bundle.manifest import Artifact, EmbeddingPost, Manifest, Post
from compactor_runtimes.errors import IntegrityError, UsageError
from compactor_runtimes.golden.findings import Case, Decoded, DecodedSlots, Finding, Row, compare, summarise
from compactor_runtimes.predict.answers import (
    Decoder,
    Embedder,
    Prediction,
    Tagger,
    Tagging,
    open_decoder,
    word_classes,
)
from compactor_runtimes.predict.slots import Slot

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from compactor_runtimes.golden.findings import Arrays

# Of a probability, and of each number of a vector of length 1.
DECODED_LIMIT = {"fp32": 1e-3, "fp16": 0.05, "int8": 0.05}


def check_decoding(
    ran: "Sequence[Arrays | UsageError]", manifest: Manifest, artifact: Artifact, cases: Sequence[Case]
) -> list[Row]:
    """Decode what an artifact gave for each case, or why it refused, and compare with what was stored."""
    rows = []
    for place, post in enumerate(manifest.post):
        decode, limit = open_decoder(post, manifest.labels), _decoded_limit(post, artifact)
        tie = 0.0 if _is_exact(artifact) else 2 * artifact.limits[post.output]
        findings = [
            _judge(decode, one, each, place, limit, tie) for one, each in zip(ran, cases, strict=True)
        ]
        rows.append(summarise(artifact.name, f"decoding of {post.output}", findings))
    return rows


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


def _judge(
    decode: Decoder | Embedder | Tagger,
    ran: "Arrays | UsageError",
    each: Case,
    place: int,
    limit: float,
    tie: float,
) -> Finding:
    """`tie` is the difference of two stored logits up to which either is right."""
    import numpy as np

    what = f"case {each.case.id!r}, output {decode.output!r}"
    if isinstance(ran, UsageError):
        return Finding(False, nan, limit, f"{what}: {ran}")
    if not np.isfinite(ran[decode.output]).all():
        return Finding(False, nan, limit, f"{what}: NaN or infinity cannot be decoded")
    if decode.reads_words and each.words is None:
        return Finding(False, nan, limit, f"{what}: its text cannot be read, so it has no words")
    try:
        found, stored = decode(ran, [] if each.words is None else [each.words])[0], each.decoded[place]
        if isinstance(found, Tagging):
            assert isinstance(decode, Tagger)  # what answers with slots
            assert isinstance(stored, DecodedSlots)  # as verify.py read it
            tied = _are_tied(decode, ran[decode.output][0], stored.slots, each, tie)
            return _compare_slots(found.slots, stored.slots, limit, what, tied=tied)
    except IntegrityError as error:
        return Finding(False, nan, limit, f"{what}: {error}")
    if isinstance(found, Prediction):
        assert isinstance(stored, Decoded)
        scores = each.outputs[decode.output][0]
        known = 0 <= stored.index < len(scores) == len(found.probabilities)
        tied = known and abs(scores[stored.index] - scores[found.index]) < tie
        return _compare_classes(found, stored, limit, what, tied=bool(tied))
    assert not isinstance(stored, Decoded | DecodedSlots)
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


def _compare_slots(found: list[Slot], stored: list[Slot], limit: float, what: str, *, tied: bool) -> Finding:
    """Compare slots; those that are in both must be about as probable in both."""
    known = {_place(slot): slot.confidence for slot in stored}
    value = max((abs(one.confidence - known.get(_place(one), one.confidence)) for one in found), default=0.0)
    same = [_place(slot) for slot in found] == [_place(slot) for slot in stored]
    return Finding(
        (same or tied) and value <= limit,
        value,
        limit,
        f"{what}: slots {_shown(found)} found, {_shown(stored)} expected, confidence within {limit:.3g}",
    )


def _are_tied(decode: Tagger, logits: "NDArray[Any]", stored: list[Slot], each: Case, tie: float) -> bool:
    """Whether the stored outputs give the stored slots, and each word that differs is close in them."""
    assert each.words is not None
    if [_place(slot) for slot in decode(each.outputs, [each.words])[0].slots] != list(map(_place, stored)):
        return False
    scores = each.outputs[decode.output][0]
    before, after = (word_classes(one, each.words) for one in (scores, logits))
    places = zip(each.words.first.tolist(), before.tolist(), after.tolist(), strict=True)
    return all(scores[at, a] - scores[at, b] < tie for at, a, b in places if a != b)


def _place(slot: Slot) -> tuple[str, int, int, str]:
    return slot.name, slot.start, slot.end, slot.value


def _shown(slots: list[Slot]) -> str:
    return ", ".join(f"{one.name} {one.value!r} at {one.start}:{one.end}" for one in slots) or "none"
