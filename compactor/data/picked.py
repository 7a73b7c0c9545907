"""Some rows of several arrays that lie on disk, read when they are asked for."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Picked:
    """Rows `rows` of `parts` [N, ...], one after the other; indexed by number, slice or rows."""

    def __init__(self, parts: Sequence[NDArray[Any]], rows: NDArray[np.int64] | None = None) -> None:
        """Pick rows of all parts together; absent = all. Nothing is read yet."""
        self.parts = tuple(parts)
        self.starts = np.cumsum([0, *(len(part) for part in self.parts)])
        self.rows = np.arange(self.starts[-1], dtype=np.int64) if rows is None else rows
        self.dtype = self.parts[0].dtype
        self.shape: tuple[int, ...] = (len(self.rows), *self.parts[0].shape[1:])
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.rows)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Read one row, or several."""
        wanted = self.rows[index]
        if np.ndim(wanted) == 0:
            return self._read(np.array([wanted]))[0]  # type: ignore[no-any-return]
        return self._read(wanted)

    def _read(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        found = np.empty((len(rows), *self.shape[1:]), dtype=self.dtype)
        part = np.searchsorted(self.starts, rows, side="right") - 1
        for number in np.unique(part):
            mine = part == number
            found[mine] = self.parts[number][rows[mine] - self.starts[number]]
        return found
