"""What is in a finished store: who labelled what and how, how sure the teachers were, FerKD's bins.

How it is printed is in inspect_terminal.py, how it is drawn in confidence_plot.py.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from compactor.data.spec import SplitName
from compactor.label_store.calibrate import Calibration, bin_shares, calibrate
from compactor.label_store.diagnosis import (
    FULL,
    SURE,
    Diagnosis,
    diagnose,
    largest_of,
    top_classes,
)
from compactor.label_store.header import Header, record_dtype
from compactor.label_store.labelled_data import images_task, open_labelled, specs_of_store
from compactor.label_store.store import LabelStore, StorePart, open_store
from compactor.label_store.thresholds import Thresholds
from compactor.label_store.unfinished import require_finished
from compactor.label_store.visits import visits_of
from compactor.progress import Reporter, SilentReporter
from compactor.records import IGNORE
from compactor_runtimes.errors import UsageError

QUANTILES = {"q01": 0.01, "q05": 0.05, "q10": 0.1, "q20": 0.2, "q50": 0.5, "q80": 0.8, "q90": 0.9} | {
    "q95": 0.95,
    "q99": 0.99,
}
EDGES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99, 0.999, 1.0)  # finer where teachers are sure
VERY_SURE = FULL
VIEWS_A_STEP = 4  # fkd's own default


@dataclass(frozen=True)
class Confidences:
    """The teachers' largest probability in the views of a part: float32 [rows, views]."""

    split: SplitName
    values: NDArray[np.float32] = field(repr=False)

    @property
    def quantiles(self) -> dict[str, float]:
        """Values below which that share of the views lies."""
        found = np.quantile(self.values, list(QUANTILES.values()))
        return {name: float(value) for name, value in zip(QUANTILES, found, strict=True)}

    def above(self, value: float) -> float:
        """Share of the views above a value."""
        return float((self.values > np.float32(value)).mean())

    @property
    def counts(self) -> list[int]:
        """Views between the EDGES; a value on an edge counts above it."""
        edges = np.array([*EDGES[:-1], np.inf], dtype=np.float32)
        return [int(count) for count in np.histogram(self.values, bins=edges)[0]]

    def to_json(self) -> dict[str, Any]:
        """Plain data for --json."""
        return {
            "split": self.split,
            "views": int(self.values.size),
            "quantiles": self.quantiles,
            "share_above": {str(value): self.above(value) for value in (SURE, VERY_SURE)},
            "histogram": {"edges": list(EDGES), "counts": self.counts},
        }


@dataclass(frozen=True)
class Bins:
    """FerKD's bins of the training views.

    `report` is Calibration.report's, but `by_class` may be by the `teacher`'s class of each view where the
    `ground truth` is not at hand; `views_of_class` counts what these shares are of.
    """

    by: str
    views_a_step: int
    thresholds: Thresholds
    report: dict[str, Any]
    views_of_class: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """Plain data for --json."""
        return self.report | {
            "by": self.by,
            "crops_per_image": self.views_a_step,
            "thresholds": msgspec.to_builtins(self.thresholds),
            "views_of_class": self.views_of_class,
        }


@dataclass(frozen=True)
class Inspection:
    """A store's header, sizes, confidences by part (empty, with a reason, without any), bins, diagnosis."""

    folder: Path
    header: Header
    records: int
    size_bytes: int
    confidences: list[Confidences]
    no_confidences: str
    bins: Bins | None
    diagnosis: Diagnosis

    @property
    def record_bytes(self) -> dict[str, int]:
        """Bytes of each field of one record; their sum is what a record takes at least."""
        layout = record_dtype(self.header)
        return {name: layout[name].itemsize for name in layout.names or ()}

    def to_json(self) -> dict[str, Any]:
        """Plain data for --json."""
        return {
            "folder": str(self.folder),
            "header": msgspec.to_builtins(self.header),
            "records": self.records,
            "size_bytes": self.size_bytes,
            "bytes_per_record": self.size_bytes / self.records,
            "record_bytes": self.record_bytes,
            "confidences": [one.to_json() for one in self.confidences],
            "no_confidences": self.no_confidences or None,
            "bins": None if self.bins is None else self.bins.to_json(),
            "diagnosis": self.diagnosis.to_json(),
        }


def inspect_store(
    folder: Path,
    *,
    thresholds: Thresholds | None = None,
    views_a_step: int | None = None,
    epochs: int | None = None,
    data: str | None = None,
    reporter: Reporter | None = None,
) -> Inspection:
    """Open a store, which checks every hash, and look at it; see `inspect_opened`.

    Raises:
        UsageError: no store, or thresholds on a store without probabilities or with too few views.
        IntegrityError: not finished, or damaged.
    """
    reporter = reporter or SilentReporter()
    require_finished(folder)
    store = open_store(folder, reporter=reporter)
    return inspect_opened(
        store,
        thresholds=thresholds,
        views_a_step=views_a_step,
        epochs=epochs,
        data=data,
        reporter=reporter,
    )


def inspect_opened(
    store: LabelStore,
    *,
    thresholds: Thresholds | None,
    views_a_step: int | None,
    epochs: int | None,
    data: str | None,
    reporter: Reporter,
) -> Inspection:
    """Look at an opened store.

    Args:
        store: the store.
        thresholds: where FerKD's bins would lie; absent: no bins.
        views_a_step: how many views a step would take of each sample; absent: 4, or as many as there are.
        epochs: how long would be trained, to count visits; absent: they are not counted.
        data: where the labelled data lie, for the ground truth; absent: it is read only if `thresholds` need
            it, by the name that the store has.
        reporter: where progress goes.

    Raises:
        UsageError: see `inspect_store`.
    """
    reason = _without_confidences(store.header)
    if reason and thresholds is not None:
        raise UsageError(
            f"label store {store.folder}: {reason}, so there is nothing to bin; leave thresholds out"
        )
    found = [] if reason else [Confidences(name, largest_of(part)) for name, part in store.parts.items()]
    views, truth = _views(store.train, views_a_step), _truth(store, thresholds, data, reporter)
    bins = None if thresholds is None else _bins(store.train, thresholds, views, truth.get("train"))
    visits = None
    if epochs is not None:
        rows = len(store.train.ids)
        visits = visits_of(
            epochs=epochs, steps=None, batch_size=views, views=views, stored=store.train.views, rows=rows
        )
    return Inspection(
        store.folder,
        store.header,
        store.records,
        store.size_bytes,
        found,
        reason,
        bins,
        diagnose(store, truth, visits),
    )


def _without_confidences(header: Header) -> str:
    """Why a store has no confidence for each view; empty if it has."""
    if header.payload.kind == "hard":
        return "its payload `hard` keeps the largest class alone, without its probability"
    return "it holds labels of token positions" if header.heads[0].positions else ""


def _views(part: StorePart, views_a_step: int | None) -> int:
    views = min(VIEWS_A_STEP, part.views) if views_a_step is None else views_a_step
    if views > part.views:
        raise UsageError(
            f"--crops-per-image: {views} found, but the label store holds {part.views} crops of each sample; "
            "lower it"
        )
    return views


def _truth(
    store: LabelStore, thresholds: Thresholds | None, data: str | None, reporter: Reporter
) -> dict[SplitName, NDArray[np.int64]]:
    """Labels of the samples of train, and of select where `data` are named; none where nobody needs them."""
    names: list[SplitName] = []
    if data is not None:
        names = ["train", "select"]
    elif thresholds is not None and thresholds.confidence == "ground-truth":
        names = ["train"]
    head, found = store.header.heads[0].name, dict[SplitName, NDArray[np.int64]]()
    for name in names:
        if (part := store.parts.get(name)) is not None:
            specs = specs_of_store(part.header, data=data)
            found[name] = open_labelled(part, images_task(), specs, reporter=reporter).labels[head][part.ids]
    return found


def _bins(part: StorePart, thresholds: Thresholds, views: int, labels: NDArray[np.int64] | None) -> Bins:
    head, known = part.header.heads[0].name, labels is not None
    names = part.header.classes[head]
    truth = np.full(len(part.ids), IGNORE, dtype=np.int64) if labels is None else labels
    found = calibrate(part, part.ids, truth, thresholds)
    report = found.report(names, views)
    if known:
        classes = np.repeat(truth[:, None], part.views, axis=1)
    else:
        classes = top_classes(part, head)
        report["by_class"] = _by_class(found, classes, names)
    counts = np.bincount(classes[classes >= 0], minlength=len(names))
    by_name = {name: int(count) for name, count in zip(names, counts, strict=True) if count}
    return Bins("ground truth" if known else "teacher", views, thresholds, report, by_name)


def _by_class(
    found: Calibration, classes: NDArray[np.int64], names: list[str]
) -> dict[str, dict[str, float]]:
    return {
        name: bin_shares(found.bins[classes == number])
        for number, name in enumerate(names)
        if (classes == number).any()
    }
