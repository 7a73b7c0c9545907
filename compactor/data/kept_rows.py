"""What is known of each sample, rows of floats: kept in one array, in a file of the run where it is large."""

import tempfile
import weakref
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from compactor_runtimes.files import writing

MOST_IN_MEMORY = 2**26  # bytes from which on they go to a file


class KeptRows:
    """For each sample rows of as many floats as any other: one, or of words as many as it has tokens.

    The file has no name, so that it ends with the process however that ends.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Keep nothing yet; absent `folder` = all in memory."""
        self.folder = folder
        self._file: IO[bytes] | None = None
        self._parts: list[NDArray[np.float32]] = []
        self._ids: list[NDArray[np.int64]] = []
        self._lengths: list[NDArray[np.int64]] = []
        self._size_bytes = 0
        self._found: _Found | None = None

    def add(
        self, ids: NDArray[np.int64], rows: NDArray[np.float32], lengths: NDArray[np.int64] | None = None
    ) -> None:
        """Keep the rows of some samples, one after the other; of a sample that comes again the last ones.

        Args:
            ids: of the samples, [n].
            rows: all of their rows, [R, C].
            lengths: rows of each, [n], R together; absent = one each.

        Raises:
            UnfitEnvironmentError: there is no room for the file.
        """
        assert self._found is None
        self._ids.append(ids)
        self._lengths.append(np.ones(len(ids), np.int64) if lengths is None else lengths)
        self._parts.append(np.ascontiguousarray(rows, np.float32))
        self._size_bytes += rows.size * 4
        if self._file is not None or (self.folder is not None and self._size_bytes > MOST_IN_MEMORY):
            self._spill()

    def of(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """The rows [n, C] of samples that have one each."""
        found = self._finished()
        return found.rows[found.ends[found.places(ids)] - 1]

    def padded(self, ids: NDArray[np.int64], length: int) -> NDArray[np.float32]:
        """The rows of samples, [n, length, C], of 0 behind the last one of each."""
        found = self._finished()
        padded = np.zeros((len(ids), length, found.rows.shape[1]), np.float32)
        for at, place in enumerate(found.places(ids).tolist()):
            start = found.ends[place - 1] if place else 0
            own = found.rows[start : found.ends[place]]
            padded[at, : len(own)] = own
        return padded

    def _spill(self) -> None:
        assert self.folder is not None
        with writing(self.folder):
            if self._file is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._file = tempfile.TemporaryFile(dir=self.folder)
                weakref.finalize(self, self._file.close)
            for part in self._parts:
                self._file.write(part.tobytes())
            self._file.flush()
        self._parts = [self._parts[-1][:0]]  # says how wide rows are

    def _finished(self) -> "_Found":
        if self._found is None:
            rows = np.concatenate(self._parts)
            if self._file is not None:
                shape = int(sum(map(np.sum, self._lengths))), rows.shape[1]
                rows = np.asarray(np.memmap(self._file, np.float32, "r", shape=shape))
                self._file.close()  # the map holds on to what it held
            self._found = _Found(rows, np.cumsum(np.concatenate(self._lengths)), np.concatenate(self._ids))
            self._parts, self._ids, self._lengths = [], [], []
        return self._found


class _Found:
    """Rows [R, C]; sample number i in the order of coming ends at `ends[i]`."""

    def __init__(self, rows: NDArray[np.float32], ends: NDArray[np.int64], ids: NDArray[np.int64]) -> None:
        self.rows, self.ends = rows, ends
        self.order = np.argsort(ids, kind="stable")
        self.sorted = ids[self.order]

    def places(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where samples came; the last of equal ones."""
        found = np.searchsorted(self.sorted, ids, side="right") - 1
        assert (self.sorted[found] == ids).all(), "asked for a sample that nothing is known of"
        return np.asarray(self.order[found])
