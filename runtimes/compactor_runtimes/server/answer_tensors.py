"""Answers of a bundle as tensors: which there are is known from its manifest, before anything is asked."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from compactor_runtimes.bundle.manifest import BioPost, EmbeddingPost, Manifest, SigmoidPost, SoftmaxPost
from compactor_runtimes.predict.answers.record import Scored
from compactor_runtimes.server.tensors import BYTES, DATATYPES, TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray


class _Column(NamedTuple):
    """One tensor of answers: its name, datatype, sizes after [N], and what an answer puts into it."""

    name: str
    datatype: str
    sizes: Callable[[Manifest], list[int]]
    value: Callable[[Any], Any]


def _one(manifest: Manifest) -> list[int]:
    return []


def _classes(manifest: Manifest) -> list[int]:
    post = manifest.post[0]
    return [len(manifest.labels[post.labels])] if isinstance(post, SoftmaxPost | SigmoidPost) else [-1]


def _width(manifest: Manifest) -> list[int]:
    output = next(each for each in manifest.main.outputs if each.name == manifest.post[0].output)
    axis = output.axes[-1]
    return [axis if isinstance(axis, int) else -1]


def _label_set(answer: Any) -> bytes:
    triples = zip(answer.labels, answer.indices, answer.confidences, strict=True)
    return msgspec.json.encode([Scored(*each) for each in triples])


_PROBABILITIES = _Column("probabilities", "FP32", _classes, lambda answer: answer.probabilities)

# kind of an entry of `post` -> what it adds
_COLUMNS: dict[type, list[_Column]] = {
    SoftmaxPost: [
        _Column("label", BYTES, _one, lambda answer: answer.label.encode()),
        _Column("index", "INT64", _one, lambda answer: answer.index),
        _Column("confidence", "FP32", _one, lambda answer: answer.confidence),
        _PROBABILITIES,
        _Column("rejected", "BOOL", _one, lambda answer: answer.rejected),
    ],
    SigmoidPost: [_Column("labels", BYTES, _one, _label_set), _PROBABILITIES],
    BioPost: [_Column("slots", BYTES, _one, lambda answer: msgspec.json.encode(answer.slots))],
    EmbeddingPost: [_Column("embedding", "FP32", _width, lambda answer: answer.vector)],
}
_TRUNCATED = _Column("truncated", "BOOL", _one, lambda answer: answer.truncated)


class AnswerTensors:
    """What the answers of one bundle are as tensors.

    Attributes:
        specs: name, datatype and shape of each.
    """

    def __init__(self, manifest: Manifest) -> None:
        """Choose the columns of a manifest's `post`."""
        self._columns = [*(each for post in manifest.post for each in _COLUMNS[type(post)]), _TRUNCATED]
        self.specs = [
            TensorSpec(each.name, each.datatype, [-1, *each.sizes(manifest)]) for each in self._columns
        ]

    def __call__(
        self, answers: Sequence[Any], names: Sequence[str]
    ) -> "dict[str, NDArray[Any] | list[bytes]]":
        """The tensors of these names [N, ...] of N answers, 1 or more."""
        import numpy as np

        found: dict[str, Any] = {}
        for each in self._columns:
            if each.name in names:
                values = [each.value(one) for one in answers]
                found[each.name] = (
                    values if each.datatype == BYTES else np.array(values, DATATYPES[each.datatype])
                )
        return found
