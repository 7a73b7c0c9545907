"""Samplers: which samples an epoch visits and in which order, and how much each item of a loss weighs.

The contract is `compactor.trainer.contracts.Sampler`. A new sampler is one file with its Options, one line in
SAMPLERS and one test.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct

from compactor.options import checked_options
from compactor.recipe.spec import StageSpec
from compactor.records import Training
from compactor_runtimes.errors import UsageError
from compactor_runtimes.tables import lookup, nearest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from compactor.data.splits import Split
    from compactor.samplers.earlier import Earlier
    from compactor.trainer.contracts import Sampler

SAMPLERS = {
    "shuffle": "compactor.samplers.shuffle:Options",
    "subset": "compactor.samplers.subset:Options",
    "crop-major": "compactor.samplers.crop_major:Options",
    "fresh-subset": "compactor.samplers.fresh_subset:Options",
    "scored-subset": "compactor.samplers.scored_subset:Options",
    "query": "compactor.samplers.query:Options",
    "other-folds": "compactor.samplers.other_folds:Options",
}
SHUFFLE, CROP_MAJOR, OTHER_FOLDS = "shuffle", "crop-major", "other-folds"
FEWEST = 2  # samples that training needs at least, also in a smoke run, which has few


class SamplerOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of a sampler, which build it; sub-classes give their fields.

    `needs_store`: it takes recorded views. `needs_teacher`: it says of which samples teachers are heard, so
    that they run beside the student. `mixes`: it takes samples of several data sets in an order of its own.
    """

    needs_store: ClassVar[bool] = False
    needs_teacher: ClassVar[bool] = False
    mixes: ClassVar[bool] = False

    @property
    def views(self) -> int:
        """Views of a sample in a step, which only a label store has several of."""
        return 1

    @property
    def references(self) -> list[str]:
        """The earlier stages that it reads, each as `stage:ID`."""
        return []

    @property
    def same_rows(self) -> list[str]:
        """Those of `references` whose sample ids it reads, which must be trained on the same data."""
        return []

    def check(self, earlier: Mapping[str, StageSpec], at: str) -> None:
        """Refuse what these earlier stages, by id, cannot give; `at` says where the sampler was found."""

    def check_rows(self, split: "Split", at: str, *, smoke: bool) -> None:
        """Refuse training samples that it cannot serve; a smoke run may lack some."""

    def kept(self, split: "Split", seed: int) -> "NDArray[np.int64] | None":
        """Positions that it alone visits, ascending, where known before training; None = unknown."""
        return None

    def build(self, stage: Training, seed: int, earlier: "Earlier | None" = None) -> "Sampler":
        """Make the sampler for a stage of that length and batch size.

        Without `earlier`, what it visits of samples that it would score is as much, but arbitrary.
        """
        raise NotImplementedError


def sampler_options(stage: StageSpec, at: str) -> SamplerOptions | None:
    """Check the sampler that a stage names; None where it leaves the choice to its method.

    Raises:
        UsageError: no such sampler, an unknown option or a wrong value, or several views of a sample without
            a label store.
    """
    chosen = stage.chosen_sampler
    if chosen is None:
        return None
    if chosen.name not in SAMPLERS:
        raise UsageError(f"{at}.sampler: unknown sampler {chosen.name!r}; {nearest(chosen.name, SAMPLERS)}")
    record: type[SamplerOptions] = lookup(SAMPLERS, chosen.name, "sampler")
    if record.needs_store and stage.labels is None:
        raise UsageError(
            f"{at}.sampler: {chosen.name} takes several recorded views of a sample, but live teachers see "
            f"one; add labels: {{crops: 16}}, or use sampler {SHUFFLE}"
        )
    return checked_options(record, chosen.options, f"{at}.sampler.options")


def only_kept(split: "Split", sampler: SamplerOptions | None, seed: int) -> "Split":
    """The samples that a stage visits, where its sampler knows before training; else all."""
    kept = None if sampler is None else sampler.kept(split, seed)
    return split if kept is None else replace(split, rows=split.rows[kept])
