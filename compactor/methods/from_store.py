"""What a method is given to learn from a label store instead of live teachers."""

import os
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compactor.targets import TARGETS
from compactor_runtimes.errors import UsageError
from compactor_runtimes.tables import lookup

if TYPE_CHECKING:
    from compactor.data.splits import Split
    from compactor.label_store.store import StorePart
    from compactor.label_store.thresholds import Thresholds
    from compactor.recipe.spec import LabelsSpec, StageSpec
    from compactor.targets.calibrated import CalibratedLabels
    from compactor.targets.recalibrated import Recalibrated
    from compactor.targets.stored import Mixing, StoredLabels


@dataclass(frozen=True)
class Stored:
    """The training part of an opened store, the split and stage that train from it, and the seed.

    `select` is its part of select samples, where it has one.
    """

    part: "StorePart"
    split: "Split"
    stage: "StageSpec"
    spec: "LabelsSpec"
    seed: int
    select: "StorePart | None" = None

    def labels(self, *, views: int = 1, mixing: "Mixing" = "none") -> "StoredLabels":
        """Targets as the store has them; `views` of each sample are taken in a step.

        Raises:
            UsageError: they cannot be mixed.
        """
        self._require_mixable(mixing, views)
        target: StoredLabels = lookup(TARGETS, "stored", "target")(
            self.part, seed=self.seed, quantization=self.spec.quantization, k=self.spec.k, mixing=mixing
        )
        return target

    def calibrated(
        self, thresholds: "Thresholds", *, smoothing: float, views: int, mixing: "Mixing"
    ) -> "CalibratedLabels":
        """Targets after FerKD's calibration; `views` of each sample are taken in a step.

        Raises:
            UsageError: the store keeps no probabilities, or its views cannot be mixed.
        """
        from compactor.label_store.calibrate import calibrate

        self._require_mixable(mixing, views)
        head = self.part.header.heads[0].name
        truth = self.split.labels[head][self.split.rows]
        target: CalibratedLabels = lookup(TARGETS, "calibrated", "target")(
            self.part,
            calibrate(self.part, self.split.rows, truth, thresholds),
            smoothing=smoothing,
            views=views,
            class_names=self.part.header.classes[head],
            seed=self.seed,
            quantization=self.spec.quantization,
            k=self.spec.k,
            mixing=mixing,
        )
        return target

    def recalibrated(self, *, k: int, c: float | None) -> "Recalibrated":
        """The k largest classes as the teachers gave them, recalibrated by c, or by what select says."""
        target: Recalibrated = lookup(TARGETS, "recalibrated", "target").from_store(
            self.part, self.select, seed=self.seed, k=k, c=c
        )
        return target

    def _require_mixable(self, mixing: "Mixing", views: int) -> None:
        at = f"stage {self.stage.id}.options.mixing"
        if mixing != "none" and self.part.header.boxes == "none":
            raise UsageError(f"{at}: {mixing} found, but only images mix; set none")
        if mixing == "self" and views < 2:
            warnings.warn(
                f"{at}: self has no effect where a step takes one crop of an image; take more, or set none",
                stacklevel=2,
            )
        processes = int(os.environ.get("WORLD_SIZE", "1"))
        if mixing == "self" and processes > 1 and views < 2 * processes:
            raise UsageError(  # batches are crop-major, so each process gets views / processes of an image
                f"{at}: self found with {views} crops_per_image on {processes} processes, but each process "
                f"needs two crops of an image to mix; set crops_per_image to at least {2 * processes}"
            )


def require_views(stage: "StageSpec", views: int, held: int) -> None:
    """Check that steps of `views` crops an image can be made of the `held` ones that are recorded.

    Raises:
        UsageError: there are fewer, or the batch size is no multiple of it.
    """
    at = f"stage {stage.id}"
    option = "options" if stage.chosen_sampler is None else "sampler.options"
    if views > held:
        raise UsageError(
            f"{at}.{option}.crops_per_image: {views} found, but {held} crops of each sample are recorded; "
            "lower it, or raise labels.crops and label again"
        )
    if stage.batch_size % views:
        below = stage.batch_size // views * views
        raise UsageError(
            f"{at}.batch_size: {stage.batch_size} is no multiple of crops_per_image {views}; "
            f"set it to {' or '.join(str(size) for size in (below, below + views) if size)}"
        )


def require_finite(divergence: str, labels: "LabelsSpec", at: str) -> None:
    """Check that a divergence is finite on labels as they are kept.

    Raises:
        UsageError: one that needs the logarithm of labels that are 0 for all classes but a few.
    """
    if divergence in ("sym_kl", "dkd", "skd") and labels.quantization in ("hard", "marginal-renorm"):
        raise UsageError(
            f"{at}.labels.quantization: {labels.quantization} found, which gives most classes a probability "
            f"of 0, and {divergence} is infinite there; use marginal-smoothing or full, or another divergence"
        )


def require_probabilities(average: str, at: str) -> None:
    """Check that teachers are averaged as a store has them.

    Raises:
        UsageError: the mean of their logits was asked for.
    """
    if average == "logits":
        raise UsageError(
            f"{at}.options.average: logits found, but a label store holds mean probabilities; remove the "
            "option, or remove labels to learn from live teachers"
        )
