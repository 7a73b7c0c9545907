"""Stored labels after FerKD's calibration: uninformative views are dropped, hard ones get softened truth."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from compactor.data.spec import Quantization
from compactor.label_store.calibrate import HARD, TOO_EASY, TOO_HARD, Calibration
from compactor.label_store.store import Records, StorePart
from compactor.records import IGNORE, Soft
from compactor.targets.stored import Mixing, StoredLabels


class CalibratedLabels(StoredLabels):
    """Draw from the views that survive; label those of bin `hard` with 1 - eps on the truth, eps elsewhere.

    A sample with fewer survivors than views asked for is filled up with its dropped views in the order of
    their distance to [mid, top]; of these, the too hard ones are labelled as hard ones are. A hard view of a
    sample without ground truth keeps the teacher's label.
    """

    def __init__(
        self,
        part: StorePart,
        calibration: Calibration,
        *,
        smoothing: float,
        views: int,
        class_names: list[str],
        seed: int,
        quantization: Quantization,
        k: int,
        mixing: Mixing = "none",
    ) -> None:
        """Set eps = `smoothing`, spread over the C - 1 other classes, and how many `views` a step takes."""
        super().__init__(part, seed=seed, quantization=quantization, k=k, mixing=mixing)
        self.calibration, self.smoothing = calibration, smoothing
        self.views, self.class_names = views, class_names

    def summary(self) -> dict[str, Any]:
        """Shares of the bins, over all and by class, and how many samples must be filled up."""
        return {"calibration": self.calibration.report(self.class_names, self.views)}

    def note(self) -> str:
        """The shares, survivors and thresholds that do little, in one line."""
        found = self.calibration.report([], self.views)
        shares = ", ".join(f"{name} {100 * share:.1f}%" for name, share in found["shares"].items())
        ties = "".join(f"; warning: {one}" for one in found["ties"])
        return (
            f"calibration: {shares}; {found['mean_survivors']:.1f} of {self.part.views} crops survive on "
            f"average, {found['filled_up']:,} of {found['samples']:,} samples are filled up{ties}"
        )

    def keys(self, samples: NDArray[np.int64], epoch: int) -> NDArray[np.float64]:
        """Random for the survivors, behind them the dropped views by their distance."""
        keys = super().keys(samples, epoch)
        rows = self.calibration.rows(samples)
        bins = self.calibration.bins[rows]
        dropped = (bins == TOO_HARD) | (bins == TOO_EASY)
        return np.where(dropped, 1 + self.calibration.distance[rows].astype(np.float64), keys)

    def labels(self, records: Records, ids: NDArray[np.int64], view: NDArray[np.int64], head: str) -> Soft:
        """The teacher's labels; softened ground truth in the hard region."""
        soft = super().labels(records, ids, view, head)
        rows = self.calibration.rows(ids)
        truth = self.calibration.truth[rows]
        bins = self.calibration.bins[rows, view]
        hard = ((bins == HARD) | (bins == TOO_HARD)) & (truth != IGNORE)
        if not hard.any():
            return soft
        classes = self.part.num_classes(head)
        log_p = soft.dense_log_p(classes).clone()
        adapted = torch.full((int(hard.sum()), classes), self.smoothing / max(classes - 1, 1))
        adapted.scatter_(1, torch.from_numpy(truth[hard]).unsqueeze(1), 1 - self.smoothing)
        log_p[torch.from_numpy(hard)] = adapted.log()
        return Soft(log_p=log_p)
