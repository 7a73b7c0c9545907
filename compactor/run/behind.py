"""Which stages of a recipe some of its references rest on."""

from collections.abc import Iterable

from compactor.methods import method_named
from compactor.recipe.spec import STAGE, ModelSpec, Recipe, StageSpec
from compactor.samplers import sampler_options


def stages_behind(recipe: Recipe, references: Iterable[ModelSpec | str]) -> list[StageSpec]:
    """The stages that some teachers come from, and those that these build on, in order."""
    needed = set(_named(references))
    for stage in reversed(recipe.stages):
        if stage.id in needed:
            learns = method_named(stage.method, f"stage {stage.id}").learns_from_teachers
            sampler = sampler_options(stage, f"stage {stage.id}")
            reads = [] if sampler is None else sampler.references
            needed |= set(_named([stage.init, *reads, *(recipe.stage_teachers(stage) if learns else [])]))
    return [stage for stage in recipe.stages if stage.id in needed]


def _named(references: Iterable[ModelSpec | str | None]) -> list[str]:
    """Ids of the stages among references."""
    return [one.removeprefix(STAGE) for one in references if isinstance(one, str) and one.startswith(STAGE)]
