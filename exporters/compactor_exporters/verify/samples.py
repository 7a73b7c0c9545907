"""The feeds on which an artifact is verified: a grid of shapes, real samples, edge samples."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from compactor_exporters.source import ExportSource
from compactor_exporters.verify.text_samples import extremes, of_length, real_tokens, text_ports
from compactor_runtimes.errors import UsageError

if TYPE_CHECKING:
    from compactor_exporters.verify.findings import Arrays

LARGEST_BATCH = 64
MOST_TOKENS = 1024  # in one batch of texts of the largest length; 64 x 512 would take most of a minute


def count_samples(source: ExportSource, feeds: "Arrays") -> int:
    """Count the samples N after checking the feeds against the ports.

    Raises:
        UsageError: an input is missing, empty, of another type or rank, or longer than the others.
    """
    for port in source.inputs:
        values = feeds.get(port.name)
        shape = None if values is None else values.shape
        if (
            values is None
            or values.ndim != len(port.axes)
            or not values.size
            or values.dtype.name != port.dtype
        ):
            raise UsageError(
                f"verification of {source.name!r}: input {port.name!r} got {shape} "
                f"{'' if values is None else values.dtype}, expected {port.dtype} {port.axes} of at "
                f"least one sample"
            )
    counts = {len(feeds[port.name]) for port in source.inputs}
    if len(counts) != 1:
        raise UsageError(
            f"verification of {source.name!r}: inputs have {sorted(counts)} samples, expected the same "
            f"number for all"
        )
    return counts.pop()


def shape_grid(source: ExportSource, feeds: "Arrays") -> "Iterator[Arrays]":
    """Give real samples, repeated and cut to each shape of the grid.

    Batch 1, 2, odd and largest, each with the other dynamic axes all at their smallest and all at their
    largest. Texts keep to their real tokens, cut or tiled, and their mask is all ones; of the longest ones,
    the largest batch has `MOST_TOKENS` (and at least 3 texts).
    """
    import numpy as np

    texts = text_ports(source)
    rows = real_tokens(source, texts, feeds) if texts else []
    bounds = source.axis_bounds
    low, high = bounds[source.batch_axis]
    high = min(high, LARGEST_BATCH)
    others = [name for name in bounds if name != source.batch_axis]
    for extreme in (0, 1) if others else (0,):
        tokens = bounds[texts.axis][extreme] if texts else 1
        largest = max(min(high, MOST_TOKENS // tokens), min(high, 3)) if texts else high
        for batch in sorted({b for b in (1, 2, 7 if largest > 7 else 3, largest) if low <= b <= largest}):
            sizes = {name: bounds[name][extreme] for name in others} | {source.batch_axis: batch}
            if texts:
                yield texts.feeds(of_length(rows, batch, sizes[texts.axis]))
                continue
            shaped = {}
            for port in source.inputs:
                values = feeds[port.name]
                for k, axis in enumerate(port.axes):
                    if isinstance(axis, str):
                        values = np.take(values, np.arange(sizes[axis]) % values.shape[k], axis=k)
                shaped[port.name] = values
            yield shaped


def edge_samples(source: ExportSource, feeds: "Arrays") -> "list[Arrays]":
    """Give extreme samples of images and texts; none for other inputs.

    Images: all 0, all 1 and two checkerboards in one set of four; other inputs beside them get real samples.
    Texts: the shortest, the longest, and one token repeated, each a set of one.
    """
    import numpy as np

    texts = text_ports(source)
    if texts:
        return extremes(texts, real_tokens(source, texts, feeds))
    if not any(port.role == "image" for port in source.inputs):
        return []
    edges = {}
    for port in source.inputs:
        real = feeds[port.name]
        if port.role == "image":
            white = np.asarray(255 if real.dtype == np.uint8 else 1, real.dtype)
            rows, columns = np.indices(real.shape[-2:])
            board = np.broadcast_to((rows + columns) % 2, real.shape[1:]).astype(real.dtype) * white
            edges[port.name] = np.stack(
                [np.zeros_like(board), np.full_like(board, white), board, white - board]
            )
        else:
            edges[port.name] = real[np.arange(4) % len(real)]
    return [edges]


def batches(feeds: "Arrays", largest: int) -> "Iterator[Arrays]":
    """Cut [N, ...] feeds into batches of at most `largest`."""
    for start in range(0, size(feeds), largest):
        yield {name: values[start : start + largest] for name, values in feeds.items()}


def size(feeds: "Arrays") -> int:
    """Number of samples in a set of feeds."""
    return len(next(iter(feeds.values())))
