"""What is special about texts in verification: cut or tiled to a length, extreme ones, and padded copies.

Real feeds are one padded [N, L] array of ids and one mask. The rows made here hold real tokens only, and ids
and mask always agree; where a row is padded, that is the point of it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from compactor_exporters.source import ExportSource
from compactor_runtimes.bundle.manifest import OutputPort, TextPre
from compactor_runtimes.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from compactor_exporters.verify.findings import Arrays

    Tokens = NDArray[np.int64]

REPEATED_TOKENS = 32
PADDED_TEXTS = 4


@dataclass(frozen=True)
class TextPorts:
    """Names of the inputs of token ids and mask, their axis of tokens with its bounds, and the padding id."""

    ids: str
    mask: str
    axis: str
    low: int
    high: int
    pad_id: int

    def feeds(self, rows: "list[Tokens]", length: int | None = None) -> "Arrays":
        """Pad rows of ids on the right to `length` tokens, or to the longest: ids and mask int64 [B, L]."""
        import numpy as np

        shape = len(rows), length or max(map(len, rows))
        ids, mask = np.full(shape, self.pad_id, np.int64), np.zeros(shape, np.int64)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = row
            mask[number, : len(row)] = 1
        return {self.ids: ids, self.mask: mask}


@dataclass(frozen=True)
class PaddedPair:
    """One text without padding, the same with padding, and how many tokens it has."""

    plain: "Arrays"
    padded: "Arrays"
    length: int


def text_ports(source: ExportSource) -> TextPorts | None:
    """Find the inputs of a text model; None for a source that takes anything else beside ids and mask."""
    ports = {port.role: port for port in source.inputs}
    if set(ports) != {"tokens", "mask"} or len(source.inputs) != 2:
        return None
    axis = ports["tokens"].axes[-1]
    if len(ports["tokens"].axes) != 2 or not isinstance(axis, str) or ports["mask"].axes[-1] != axis:
        return None
    pad_ids = [pre.pad_id for pre in source.pre if isinstance(pre, TextPre)]
    low, high = source.axis_bounds[axis]
    return TextPorts(ports["tokens"].name, ports["mask"].name, axis, low, high, (pad_ids or [0])[0])


def real_tokens(source: ExportSource, ports: TextPorts, feeds: "Arrays") -> "list[Tokens]":
    """Return the rows of ids without their padding.

    Raises:
        UsageError: a mask that is not ones and then zeros, with at least one one.
    """
    import numpy as np

    ids, mask = feeds[ports.ids], feeds[ports.mask]
    lengths = mask.sum(axis=1)
    padded_right = (mask == (np.arange(mask.shape[1]) < lengths[:, None])).all(axis=1) & (lengths > 0)
    if ids.shape != mask.shape or not padded_right.all():
        row = int(padded_right.argmin())
        raise UsageError(
            f"verification of {source.name!r}: {ports.mask!r} of sample {row} is {mask[row, :8].tolist()}"
            "..., expected ones and then zeros, as padding on the right gives"
        )
    return [row[:length] for row, length in zip(ids, lengths, strict=True)]


def of_length(rows: "list[Tokens]", batch: int, length: int) -> "list[Tokens]":
    """Give `batch` rows, repeated from the start if need be, each cut or tiled to `length` real tokens."""
    import numpy as np

    return [np.resize(rows[number % len(rows)], length) for number in range(batch)]


def extremes(ports: TextPorts, rows: "list[Tokens]") -> "list[Arrays]":
    """Give the shortest text, the longest, and one token over and over, each on its own.

    The shortest is the first and the last token of a real one: with a tokenizer that adds a start and an end,
    that is the empty text.
    """
    import numpy as np

    longest = max(rows, key=len)
    first, middle, last = longest[:1], longest[len(longest) // 2], longest[-1:]
    shortest = np.resize(np.concatenate([first, last]), max(ports.low, min(2, ports.high)))
    inner = max(min(REPEATED_TOKENS, ports.high) - 2, 1)
    repeated = np.concatenate([first, np.full(inner, middle, np.int64), last])
    return [
        ports.feeds([shortest]),
        ports.feeds([np.resize(longest, ports.high)]),
        ports.feeds([repeated[: ports.high]]),
    ]


def padded_pairs(ports: TextPorts, rows: "list[Tokens]") -> list[PaddedPair]:
    """Give the shortest real texts, each padded by one token and to the largest length."""
    short = sorted((row for row in rows if ports.low <= len(row) < ports.high), key=len)[:PADDED_TEXTS]
    return [
        PaddedPair(ports.feeds([row]), ports.feeds([row], length), len(row))
        for row in short
        for length in sorted({len(row) + 1, ports.high})
    ]


def without_padding(outputs: "Arrays", declared: list[OutputPort], ports: TextPorts, length: int) -> "Arrays":
    """Cut outputs that have an axis of tokens to the text's own `length`."""
    import numpy as np

    cut = {}
    for port in declared:
        values = outputs[port.name]
        for k, axis in enumerate(port.axes[: values.ndim]):
            if axis == ports.axis:
                values = np.take(values, np.arange(min(length, values.shape[k])), axis=k)
        cut[port.name] = values
    return cut
