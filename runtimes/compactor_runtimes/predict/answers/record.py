"""What all answers have in common: they can be said as plain data."""

from typing import Any

import msgspec
from msgspec import Struct


class Record(Struct, frozen=True, eq=False):
    """One answer. Compared by identity, because arrays have no single truth value."""

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data, arrays as lists."""
        found: dict[str, Any] = msgspec.to_builtins(self, enc_hook=_listed)
        return found

    def to_json(self) -> str:
        """All of it as JSON."""
        return msgspec.json.encode(self.to_dict()).decode()


class Scored(Struct, frozen=True):
    """One label of several, its place in the order of the logits, and its probability."""

    label: str
    index: int
    confidence: float


def top(probabilities: Any, labels: "list[str]", k: int, threshold: float) -> list[Scored]:
    """The `k` most probable labels that reach a threshold, the most probable first, equal ones in order."""
    order = (-probabilities).argsort(kind="stable")[: max(k, 0)].tolist()
    return [
        Scored(labels[one], one, float(probabilities[one]))
        for one in order
        if probabilities[one] >= threshold
    ]


def without_names(said: dict[str, Any]) -> dict[str, Any]:
    """An answer as plain data without what all answers of a model share."""
    del said["names"]
    return said


def _listed(value: Any) -> Any:
    return value.tolist()
