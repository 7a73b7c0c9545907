"""A vector: decoded from an embedding output, kept in golden cases, compared and said."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from compactor_runtimes.bundle.manifest import EmbeddingPost
from compactor_runtimes.errors import IntegrityError
from compactor_runtimes.golden.findings import Allowed, Finding, compare
from compactor_runtimes.predict.answers.classes import finite
from compactor_runtimes.predict.answers.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from compactor_runtimes.predict.text import Words

    Arrays = Mapping[str, NDArray[Any]]


class Embedding(Record, frozen=True, eq=False):
    """The vector float32 [D] of one input; `truncated` is as in `Prediction`."""

    vector: "NDArray[np.float32]"
    truncated: bool = False

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data."""
        return {"embedding": self.vector.tolist(), "truncated": self.truncated}


class StoredVector(Struct, frozen=True):
    """What a golden case stores of a vector: the key of its float32 [1, D] in the tensors file.

    The whole vector is kept, not only its first numbers, so that a change at its end is found as well.
    """

    vector: str


class VectorCodec:
    """Values of an embedding output -> vectors, of length 1 if the manifest says so; see `Codec`."""

    reads_words = False
    fits_a_line = False

    def __init__(self, post: EmbeddingPost, labels: Mapping[str, list[str]]) -> None:
        """Bind what the manifest declares."""
        self.output = post.output
        self.normalize = post.normalize
        self.labels: list[str] = []

    def __call__(self, outputs: "Arrays", words: "Sequence[Words]" = ()) -> list[Embedding]:
        """Decode [B, D] to B embeddings; a vector of zeros stays one.

        Raises:
            IntegrityError: not two axes, no number at all, or one that is none.
        """
        import numpy as np

        values = outputs[self.output]
        if values.ndim != 2 or not values.shape[1]:
            raise IntegrityError(
                f"output {self.output!r}: shape {values.shape} found, [B, D] expected of an embedding; "
                "export the bundle again"
            )
        vectors = finite(values, self.output).astype(np.float32, copy=False)
        if self.normalize:
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
        return [Embedding(row) for row in vectors]

    def keep(self, answer: Embedding, case: str) -> "tuple[dict[str, Any], dict[str, NDArray[Any]]]":
        """The key of the vector, and the vector."""
        key = f"{case}.decoded-vector"
        return msgspec.to_builtins(StoredVector(key)), {key: answer.vector[None]}

    def read(self, kept: dict[str, Any], array: "Callable[[str], NDArray[Any]]") -> "NDArray[Any]":
        """Read the vector [1, D] that `keep` named.

        Raises:
            msgspec.ValidationError: it named none.
        """
        return array(msgspec.convert(kept, StoredVector).vector)

    def describe(self) -> str:
        """From values to a vector."""
        return f"{self.output} -> vector{', divided by its length' if self.normalize else ''}"

    def limit(self, rounding: float, of_output: float, *, exact: bool) -> float:
        """Of each number; a vector that is not normalised is the output itself and keeps to its limit."""
        return rounding if self.normalize else of_output

    def compare(
        self,
        found: "Arrays",
        stored: "NDArray[Any]",
        expected: "Arrays",
        words: "Sequence[Words]",
        *,
        allowed: Allowed,
        what: str,
    ) -> Finding:
        """All numbers are the stored ones."""
        return compare(self(found)[0].vector[None], stored, allowed.limit, f"{what}, decoded vector")

    def say(self, answer: Embedding) -> str:
        """How many numbers it has."""
        return f"{len(answer.vector)} numbers"

    def cells(self, answer: Embedding) -> list[str]:
        """Its numbers are too many for a line."""
        return [self.say(answer)]
