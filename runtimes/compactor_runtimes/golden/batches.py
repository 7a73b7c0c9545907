"""Golden cases as batches: an axis that was frozen at export, or a mask that is not read, shows only there.

Images are stacked with others of their shape. Texts are padded with longer ones, as serving pads them.
"""

from collections.abc import Iterator, Sequence
from math import nan
from typing import TYPE_CHECKING, Any, NamedTuple

from compactor_runtimes.backends import Runtime
from compactor_runtimes.bundle.manifest import Artifact, Manifest, OutputPort, TextPre
from compactor_runtimes.errors import UsageError
from compactor_runtimes.golden.findings import Case, Finding, Row, attempt, compare, summarise
from compactor_runtimes.predict.text import pad_texts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from compactor_runtimes.golden.findings import Arrays


class _Batch(NamedTuple):
    """Some cases and their feeds together; `padded` names the axis along which they were padded."""

    cases: list[Case]
    feeds: "Arrays"
    padded: str | None = None


def check_batches(runtime: Runtime, manifest: Manifest, artifact: Artifact, cases: list[Case]) -> list[Row]:
    """Compare cases in batches with their stored outputs: one row an output, none where no batch fits."""
    ports = manifest.main.inputs
    # An axis that is declared fixed has no batches to try.
    largest = min(port.max[0] if isinstance(port.axes[0], str) else 1 for port in ports)
    if largest < 2:
        return []
    texts = [pre for pre in manifest.pre if isinstance(pre, TextPre)]
    if texts:
        axis = next(port.axes[1] for port in ports if port.name == texts[0].ids)
        batches = _text_batches(cases, largest, texts[0], str(axis))
    else:
        batches = _image_batches(cases, largest)
    findings: dict[str, list[Finding]] = {port.name: [] for port in manifest.main.outputs}
    for batch in batches:
        ran = attempt(runtime, batch.feeds)
        for port in manifest.main.outputs:
            findings[port.name] += _judge(ran, batch, port, artifact.limits[port.name])
    return [summarise(artifact.name, f"output {name}, batched", each) for name, each in findings.items()]


def _judge(ran: "Arrays | UsageError", batch: _Batch, port: OutputPort, limit: float) -> Iterator[Finding]:
    size = len(batch.cases)
    for index, each in enumerate(batch.cases):
        what = f"case {each.case.id!r}, output {port.name!r} in a batch of {size}"
        if isinstance(ran, UsageError):
            detail = f"{what}: refused, so the declared dynamic batch axis is frozen in the graph ({ran})"
            yield Finding(False, nan, limit, detail)
        elif ran[port.name].shape[:1] != (size,):
            shape = ran[port.name].shape
            detail = f"{what}: shape {shape} found, so the batch axis is frozen in the graph"
            yield Finding(False, nan, limit, detail)
        else:
            stored = each.outputs[port.name]
            found = _own_part(ran[port.name][index : index + 1], stored, port, batch.padded)
            yield compare(found, stored, limit, f"{what} padded to one length" if batch.padded else what)


def _own_part(
    found: "NDArray[Any]", stored: "NDArray[Any]", port: OutputPort, padded: str | None
) -> "NDArray[Any]":
    """Cut what a graph says of padding off an output with an axis of tokens."""
    for k, axis in enumerate(port.axes[: found.ndim]):
        if axis == padded and k < stored.ndim:
            found = found.take(range(min(stored.shape[k], found.shape[k])), axis=k)
    return found


def _image_batches(cases: Sequence[Case], largest: int) -> Iterator[_Batch]:
    """Group cases of equal feed shapes."""
    import numpy as np

    groups: dict[Any, list[Case]] = {}
    for each in cases:
        groups.setdefault(tuple(feed.shape for feed in each.feeds.values()), []).append(each)
    for group in groups.values():
        for part in _parts(group, largest):
            yield _Batch(
                part, {name: np.concatenate([one.feeds[name] for one in part]) for name in part[0].feeds}
            )


def _text_batches(cases: Sequence[Case], largest: int, pre: TextPre, axis: str) -> Iterator[_Batch]:
    """Pad short and long texts together: the shortest, the longest, the second shortest, ..."""
    encoded = {each.case.id: each.feeds[pre.ids][0, : int(each.feeds[pre.mask].sum())] for each in cases}
    rest = sorted(cases, key=lambda each: len(encoded[each.case.id]))
    mixed = [rest.pop(0 if turn % 2 == 0 else -1) for turn in range(len(rest))]
    for part in _parts(mixed, largest):
        yield _Batch(part, dict(pad_texts(pre, [encoded[each.case.id] for each in part])), axis)


def _parts(group: list[Case], largest: int) -> Iterator[list[Case]]:
    """Cut into batches of 2 to `largest`; a case on its own goes in twice."""
    for start in range(0, len(group), largest):
        part = group[start : start + largest]
        yield part if len(part) > 1 else part * 2
