"""A column of texts as one array of UTF-8 and where each begins and ends, instead of N strings of Python."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

BLANK, LAST_ASCII = 0x20, 0x7E
ROWS = 65_536  # whose places are Python's at a time


class PackedTexts(Sequence[str]):
    """Texts [N]: text i is the UTF-8 of `letters[starts[i]:ends[i]]`.

    `letters` uint8 [bytes] may be memory-mapped; what is picked of a column shares them.
    """

    def __init__(
        self, letters: NDArray[np.uint8], starts: NDArray[np.int64], ends: NDArray[np.int64]
    ) -> None:
        """Take the arrays as they are."""
        self.letters, self.starts, self.ends = letters, starts, ends

    @classmethod
    def of(cls, texts: Iterable[str]) -> "PackedTexts":
        """Put strings into one array."""
        raw = [text.encode() for text in texts]
        offsets = np.cumsum([0, *map(len, raw)], dtype=np.int64)
        return cls(np.frombuffer(b"".join(raw), np.uint8), offsets[:-1], offsets[1:])

    @classmethod
    def joined(cls, columns: Sequence["PackedTexts"]) -> "PackedTexts":
        """One column after the other."""
        if len(columns) == 1:
            return columns[0]
        letters = [np.zeros(0, np.uint8), *(one.packed().letters for one in columns)]
        sizes = [np.zeros(1, np.int64), *(one.ends - one.starts for one in columns)]
        offsets = np.cumsum(np.concatenate(sizes))
        return cls(np.concatenate(letters), offsets[:-1], offsets[1:])

    @property
    def shape(self) -> tuple[int]:
        """(N,), as an array of texts would have it."""
        return (len(self.starts),)

    def __len__(self) -> int:
        """Number of texts."""
        return len(self.starts)

    @overload
    def __getitem__(self, rows: int) -> str: ...

    @overload
    def __getitem__(self, rows: slice | NDArray[np.int64] | list[int]) -> "PackedTexts": ...

    def __getitem__(self, rows: int | slice | NDArray[np.int64] | list[int]) -> "str | PackedTexts":
        """One text, or a column of some."""
        if isinstance(rows, int | np.integer):
            return self.letters[self.starts[rows] : self.ends[rows]].tobytes().decode()
        return PackedTexts(self.letters, self.starts[rows], self.ends[rows])

    def __iter__(self) -> Iterator[str]:
        """Yield the texts one by one; nothing is kept."""
        for raw in self._raw():
            yield str(raw, "utf-8")

    def tolist(self) -> list[str]:
        """All of them as strings."""
        return list(self)

    def numbers(self) -> NDArray[np.int64]:
        """A number [N] for each text, equal for equal texts; in this process alone (64 bits)."""
        return np.fromiter((hash(bytes(raw)) for raw in self._raw()), np.int64, len(self))

    def packed(self) -> "PackedTexts":
        """The same texts in an array of their own without anything between them."""
        sizes = self.ends - self.starts
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        if len(self) and (self.starts[1:] == self.ends[:-1]).all():
            letters = self.letters[self.starts[0] : self.ends[-1]]
        else:
            letters = np.frombuffer(b"".join(self._raw()), np.uint8)
        return PackedTexts(letters, offsets[:-1], offsets[1:])

    def _raw(self) -> Iterator[memoryview]:
        view = self.letters.data
        for first in range(0, len(self), ROWS):
            rows = slice(first, first + ROWS)
            for start, end in zip(self.starts[rows].tolist(), self.ends[rows].tolist(), strict=True):
                yield view[start:end]


def read_texts(chunk: Any) -> PackedTexts:
    """The cells of a pyarrow Array of texts, or of lists of words, which spaces join; none is empty.

    Raises:
        UnicodeDecodeError: other bytes than UTF-8.
    """
    import pyarrow as pa

    if not (pa.types.is_string(chunk.type) or pa.types.is_large_string(chunk.type)):
        cells = chunk.to_pylist()
        return PackedTexts.of(" ".join(cell) if isinstance(cell, list) else cell or "" for cell in cells)
    try:
        chunk.validate(full=True)
    except pa.ArrowInvalid:
        chunk.to_pylist()  # raises UnicodeDecodeError, which who opened the file can word
        raise
    if chunk.null_count:
        chunk = chunk.fill_null("")
    kind = np.dtype(np.int64 if pa.types.is_large_string(chunk.type) else np.int32)
    _, places, letters = chunk.buffers()
    if letters is None or not len(chunk):
        return PackedTexts.of([""] * len(chunk))
    at = np.frombuffer(places, kind, len(chunk) + 1, chunk.offset * kind.itemsize).astype(np.int64)
    # copied, so that the piece of the file can go
    own = np.frombuffer(letters, np.uint8)[at[0] : at[-1]].copy()
    return PackedTexts(own, at[:-1] - at[0], at[1:] - at[0])


def first_blank(texts: PackedTexts) -> int | None:
    """The first text of blanks alone, or of nothing; None where there is none."""
    sizes = texts.ends - texts.starts
    first = np.zeros(len(texts), np.uint8)
    first[sizes > 0] = texts.letters[texts.starts[sizes > 0]]
    doubtful = np.flatnonzero((first <= BLANK) | (first > LAST_ASCII))  # all others begin with a letter
    return next((int(row) for row in doubtful if not texts[int(row)].strip()), None)
