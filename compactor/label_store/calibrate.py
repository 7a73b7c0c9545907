"""FerKD's surgical label adaptation as an off-line transform of a store (arXiv 2312.17473).

Every view gets exactly one bin by the teacher's confidence s, with strict inequalities, so that a view on a
threshold is kept (bin 2):

0. too-hard: s < low, dropped (a hard negative).
1. hard: low < s < mid, its label is replaced by the softened ground truth (context, background).
2. kept: the teacher's label stays as it is.
3. too-easy: s > top, dropped.

The paper's thresholds and its confidence are not published; all are options here. An absent threshold leaves
its bin empty.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from compactor.label_store.store import StorePart
from compactor.label_store.thresholds import Thresholds
from compactor.label_store.ties import told_ties
from compactor.records import IGNORE
from compactor_runtimes.errors import UsageError

BINS = ("too-hard", "hard", "kept", "too-easy")
TOO_HARD, HARD, KEPT, TOO_EASY = range(4)
CHUNK_RECORDS = 65_536


@dataclass(frozen=True)
class Calibration:
    """The bin of every view of the training samples, and how far a dropped one lies from those kept.

    `ids` int64 [N] ascending, `bins` uint8 [N, M], `distance` float32 [N, M] (of the confidence to [mid,
    top]), `limits` the thresholds as values, `truth` int64 [N] (-100 where there is none), `ties` sentences
    on thresholds that do little because many views share their value.
    """

    ids: NDArray[np.int64]
    bins: NDArray[np.uint8]
    distance: NDArray[np.float32]
    limits: dict[str, float | None]
    truth: NDArray[np.int64]
    ties: tuple[str, ...] = ()

    def rows(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of some sample ids."""
        return np.searchsorted(self.ids, ids)

    def report(self, class_names: list[str], views_an_image: int) -> dict[str, Any]:
        """Shares of the bins over all views and by ground-truth class, and how many views survive.

        Args:
            class_names: names of the classes.
            views_an_image: how many views an epoch takes of each sample; with fewer survivors, the dropped
                views that are closest to [mid, top] fill up.
        """
        survivors = np.isin(self.bins, (HARD, KEPT)).sum(1)
        return {
            "samples": len(self.ids),
            "views": int(self.bins.size),
            "limits": self.limits,
            "shares": bin_shares(self.bins),
            "by_class": {
                name: bin_shares(self.bins[self.truth == number])
                for number, name in enumerate(class_names)
                if (self.truth == number).any()
            },
            "mean_survivors": float(survivors.mean()),
            "filled_up": int((survivors < views_an_image).sum()),
            "ties": list(self.ties),
        }


def confidences(
    part: StorePart, ids: NDArray[np.int64], truth: NDArray[np.int64], kind: Literal["max", "ground-truth"]
) -> NDArray[np.float32]:
    """Confidence [N, M] of the teacher in every view of some samples.

    Args:
        part: the store's training part; its first head is read.
        ids: int64 [N].
        truth: int64 [N]; where it is -100, the largest probability stands in for that of the ground truth.
        kind: which probability.

    Raises:
        UsageError: the store keeps no probabilities, or labels of several positions.
    """
    head, payload = part.header.heads[0], part.header.payload
    if payload.kind == "hard" or head.positions:
        raise UsageError(
            "label store: calibration needs one label with probabilities for each view; this store keeps "
            + ("the largest class alone" if payload.kind == "hard" else "labels of token positions")
        )
    found = np.empty((len(ids), part.views), dtype=np.float32)
    step = max(CHUNK_RECORDS // part.views, 1)
    for start in range(0, len(ids), step):
        some = slice(start, start + step)
        count = len(ids[some])
        view = np.tile(np.arange(part.views), count)
        records = part.records(np.repeat(ids[some], part.views), view)
        k = head.num_classes if payload.kind == "full" else payload.k
        soft = part.soft(records, head.name, "marginal-smoothing", k)
        assert soft.p is not None
        values = soft.p[:, 0].numpy()
        if kind == "ground-truth":
            wanted = np.repeat(truth[some], part.views)
            known = torch.from_numpy(np.maximum(wanted, 0)).unsqueeze(1)
            of_truth = soft.dense_log_p(head.num_classes).exp().gather(1, known)[:, 0].numpy()
            values = np.where(wanted == IGNORE, values, of_truth)
        found[some] = values.reshape(count, part.views)
    return np.minimum(found, 1)  # the mean of several certain teachers may round to more


def calibrate(
    part: StorePart, ids: NDArray[np.int64], truth: NDArray[np.int64], thresholds: Thresholds
) -> Calibration:
    """Bin the views of some samples.

    Args:
        part: the store's training part.
        ids: int64 [N] ascending, the samples that are trained on.
        truth: int64 [N] their labels, -100 where there is none.
        thresholds: where the bins lie.
    """
    confidence = confidences(part, ids, truth, thresholds.confidence)
    limits: dict[str, float | None] = {}
    for name in ("low", "mid", "top"):
        value = getattr(thresholds, name)
        if value is not None and thresholds.unit == "quantiles":
            value = float(np.quantile(confidence, value))
        limits[name] = value
    low, mid, top = (limits[name] for name in ("low", "mid", "top"))
    bins = np.full(confidence.shape, KEPT, dtype=np.uint8)
    if mid is not None:
        bins[confidence < mid] = HARD
    if low is not None:
        bins[confidence == np.float32(low)] = KEPT
        bins[confidence < low] = TOO_HARD
    if top is not None:
        bins[confidence > top] = TOO_EASY
    below = np.maximum((low if mid is None else mid) or 0.0, 0.0) - confidence
    above = confidence - (1.0 if top is None else top)
    distance = np.maximum(np.maximum(below, above), 0).astype(np.float32)
    return Calibration(ids, bins, distance, limits, truth, tuple(told_ties(confidence, thresholds, limits)))


def bin_shares(bins: NDArray[np.uint8]) -> dict[str, float]:
    """Share of the views in each bin."""
    counts = np.bincount(bins.ravel(), minlength=len(BINS))
    return {name: float(count / max(bins.size, 1)) for name, count in zip(BINS, counts, strict=True)}
