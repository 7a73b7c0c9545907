"""Samplers: which samples an epoch visits and in which order, and how much each item of a loss weighs.

The contract is `compactor.trainer.contracts.Sampler`. A new sampler is one file with its Options, one line in
SAMPLERS and one test.
"""

from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct

from compactor.options import checked_options
from compactor.recipe.spec import StageSpec
from compactor.records import Training
from compactor_runtimes.errors import UsageError
from compactor_runtimes.tables import lookup, nearest

if TYPE_CHECKING:
    from compactor.trainer.contracts import Sampler

SAMPLERS = {
    "shuffle": "compactor.samplers.shuffle:Options",
    "subset": "compactor.samplers.subset:Options",
    "crop-major": "compactor.samplers.crop_major:Options",
}
SHUFFLE, CROP_MAJOR = "shuffle", "crop-major"


class SamplerOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of a sampler, which build it; sub-classes give their fields."""

    needs_store: ClassVar[bool] = False

    @property
    def views(self) -> int:
        """Views of a sample in a step, which only a label store has several of."""
        return 1

    def build(self, stage: Training, seed: int) -> "Sampler":
        """Make the sampler for a stage of that length and batch size."""
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
