"""Calibration of static int8: real samples only, the digests that say which, and how they are fed."""

import hashlib
from typing import TYPE_CHECKING, Any

from compactor_exporters.source import ExportSource
from compactor_exporters.verify.samples import batches, size
from compactor_exporters.verify.text_samples import TextPorts
from compactor_runtimes.bundle.manifest import Artifact, Calibration, Check
from compactor_runtimes.errors import UsageError

if TYPE_CHECKING:
    from compactor_exporters.verify.findings import Arrays

_BATCH = 16


def calibration_feeds(source: ExportSource, wanted: Calibration) -> "Arrays":
    """Draw the real samples.

    Raises:
        UsageError: no data are at hand; random numbers would give ranges that no real input has.
    """
    feeds = None if source.calibration is None else source.calibration(wanted)
    if not feeds or not size(feeds):
        found = "no data were given" if feeds is None else f"split {wanted.split!r} has none"
        raise UsageError(
            f"export of {source.name!r}: static int8 needs real samples for its ranges, {found}; "
            "give a data set, or ask for dynamic quantization"
        )
    return feeds


def sample_digests(feeds: "Arrays") -> dict[str, Any]:
    """SHA-256 over all samples, and the first 16 digits of each sample's own."""
    each, whole = [], hashlib.sha256()
    for number in range(size(feeds)):
        one = hashlib.sha256()
        for name in sorted(feeds):
            one.update(feeds[name][number].tobytes())
        each.append(one.hexdigest()[:16])
        whole.update(one.digest())
    return {"samples": size(feeds), "sha256": whole.hexdigest(), "sample_sha256": each}


def judge_calibration(artifact: Artifact) -> Check:
    """Refuse ranges of unknown origin: the digest of every sample that set them is in `made`."""
    told = artifact.made.get("calibration", {})
    count, digests = told.get("samples", 0), len(told.get("sample_sha256", []))
    return Check(
        name="calibration",
        passed=count > 0 and digests == count and bool(told.get("sha256")),
        n=count,
        detail=f"{digests} digests of calibration samples are recorded, {count} samples set the ranges",
    )


def without_common_padding(feeds: "Arrays", texts: TextPorts | None) -> "Arrays":
    """Cut padding that all texts of a batch have: what is computed of it says nothing about real texts."""
    import numpy as np

    if texts is None:
        return feeds
    used = int(np.flatnonzero(feeds[texts.mask].any(axis=0)).max(initial=-1)) + 1
    length = max(used, texts.low)
    return {name: values[:, :length] for name, values in feeds.items()}


class Reader:
    """The samples in batches, as onnxruntime.quantization asks for them (its CalibrationDataReader).

    Texts of like length share a batch. Length and ranges count batches: a stride of one lets each batch be
    reduced before the next. Otherwise those methods that take histograms keep all activations of all samples,
    and fail on batches of several shapes.
    """

    def __init__(self, feeds: "Arrays", texts: TextPorts | None = None) -> None:
        """Cut the samples into batches; all of them are in range."""
        import numpy as np

        if texts is not None:
            by_length = np.argsort(feeds[texts.mask].sum(axis=1), kind="stable")
            feeds = {name: values[by_length] for name, values in feeds.items()}
        self._batches = [without_common_padding(batch, texts) for batch in batches(feeds, _BATCH)]
        self.set_range(0, len(self._batches))

    def __len__(self) -> int:
        """Number of batches."""
        return len(self._batches)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Give batches from the first up to the last, exclusive, from here on."""
        self._coming = iter(self._batches[start_index:end_index])

    def get_next(self) -> "Arrays | None":
        """Give the next batch, None after the last in range."""
        return next(self._coming, None)
