"""Stand-ins for what samplers read of earlier stages, and splits with labels of any kind."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from compactor.data.splits import Split


class Fixed:
    """Earlier stages whose answers, records and teachers' accuracy are given."""

    def __init__(
        self,
        probabilities: dict[str, Any] | None = None,
        records: dict[str, dict[str, NDArray[Any]]] | None = None,
        accuracy: float | None = None,
    ) -> None:
        self.said, self.kept, self.accuracy = probabilities or {}, records or {}, accuracy

    def probabilities(self, reference: str) -> NDArray[np.float64]:
        return np.array(self.said[reference], np.float64)

    def records(self, reference: str) -> dict[str, NDArray[Any]]:
        return self.kept[reference]

    def teachers_accuracy(self, teachers: Any) -> float | None:
        return self.accuracy


def split(labels: list[int], rows: list[int] | None = None) -> Split:
    """Samples with these labels; `rows` are their numbers in a source that has others too."""
    rows_ = np.arange(len(labels)) if rows is None else np.array(rows)
    whole = np.zeros(int(rows_.max()) + 1, np.int64)
    whole[rows_] = labels
    return Split("train", np.zeros((len(whole), 1, 1, 1), np.uint8), {"label": whole}, rows_, "x")
