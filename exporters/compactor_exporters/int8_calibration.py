"""Calibration of static int8: real samples only, and the digests that say which."""

import hashlib
from collections.abc import Iterator
from typing import Any

from compactor_exporters.findings import Arrays
from compactor_exporters.samples import batches, size
from compactor_exporters.source import ExportSource
from compactor_runtimes.errors import UsageError
from compactor_runtimes.manifest import Calibration

_BATCH = 16


def calibration_feeds(source: ExportSource, wanted: Calibration) -> Arrays:
    """Draw the real samples.

    Raises:
        UsageError: no data are at hand; random numbers would give ranges that no real input has.
    """
    if source.calibration is None:
        raise UsageError(
            f"export of {source.name!r}: static int8 needs real samples for its ranges, no data were given; "
            "give a data set, or ask for dynamic quantization"
        )
    return source.calibration(wanted)


def sample_digests(feeds: Arrays) -> dict[str, Any]:
    """SHA-256 over all samples, and the first 16 digits of each sample's own."""
    each, whole = [], hashlib.sha256()
    for number in range(size(feeds)):
        one = hashlib.sha256()
        for name in sorted(feeds):
            one.update(feeds[name][number].tobytes())
        each.append(one.hexdigest()[:16])
        whole.update(one.digest())
    return {"samples": size(feeds), "sha256": whole.hexdigest(), "sample_sha256": each}


class Reader:
    """The samples in batches, as onnxruntime.quantization asks for them (its CalibrationDataReader)."""

    def __init__(self, feeds: Arrays) -> None:
        """Start with the first batch."""
        self._batches: Iterator[Arrays] = batches(feeds, _BATCH)

    def get_next(self) -> Arrays | None:
        """Give the next batch, None after the last."""
        return next(self._batches, None)

    def __iter__(self) -> Iterator[Arrays]:
        """Go over the batches that are left."""
        return self._batches

    def __next__(self) -> Arrays:
        """Give the next batch."""
        return next(self._batches)
