"""Teacher mixers: many teachers -> one Outputs that holds both averages, of probabilities and of logits.

A new mixer is one file with its Options, one line in MIXERS and one test.
"""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from msgspec import Struct

from compactor.options import checked_options
from compactor.recipe.spec import MixerSpec, StageSpec
from compactor.records import Batch, DataInfo, Outputs, TeacherClasses
from compactor_runtimes.errors import UsageError
from compactor_runtimes.tables import lookup, nearest

MIXERS = {
    "mean": "compactor.mixers.mean:Options",
    "parc": "compactor.mixers.parc:Options",
}
DEFAULT_MIXER = "mean"

Seen = Iterable[tuple[list[Outputs], Batch]]  # what each teacher said of batches


class TeacherMixer:
    """The contract of a mixer; those that are not fitted leave all but the call as it is here.

    `needs` are the features that it reads of every teacher, beside their logits.
    """

    needs: frozenset[str] = frozenset()
    has_heads = False
    """Whether it answers by heads of its own, which `fit` made, in the place of the teachers'."""

    def __call__(self, outputs: list[Outputs]) -> Outputs:
        """Mix the outputs of all teachers on the same samples."""
        raise NotImplementedError

    def asks(self, number: int) -> bool:
        """Whether that teacher is asked; of another one the outputs are empty."""
        return True

    def fit(self, info: DataInfo, train: Seen, select: Seen) -> None:
        """See the data, and what the teachers say of all training and select samples, before training.

        It runs again when a training goes on, and has to come to the same.
        """

    def told(self, names: Sequence[str]) -> list[str]:
        """What `fit` came to, in a line for each of the teachers, whose names these are."""
        return []

    def summary(self) -> dict[str, Any]:
        """The same as plain values for a JSON file."""
        return {}


class MixerOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of a mixer, which build it; sub-classes give their fields."""

    is_fitted: ClassVar[bool] = False
    """Whether it learns from labelled training rows before anything is taught."""
    one_head: ClassVar[bool] = False
    """Whether it mixes answers of one class a sample alone."""

    @property
    def teacher_classes(self) -> TeacherClasses:
        """Whose answers it mixes: `any` teachers', or those of teachers of all the data's classes."""
        return "all"

    def build(self) -> TeacherMixer:
        """Make the mixer."""
        raise NotImplementedError


def mixer_options(spec: MixerSpec | None, at: str) -> MixerOptions:
    """Check a mixer's options; the default one's where nobody names any.

    Raises:
        UsageError: no such mixer, an unknown option or a wrong value.
    """
    chosen = spec or MixerSpec(name=DEFAULT_MIXER)
    if chosen.name not in MIXERS:
        raise UsageError(f"{at}.mixer: unknown mixer {chosen.name!r}; {nearest(chosen.name, MIXERS)}")
    record: type[MixerOptions] = lookup(MIXERS, chosen.name, "mixer")
    return checked_options(record, chosen.options, f"{at}.mixer.options")


def stage_mixer(stage: StageSpec, at: str) -> MixerOptions:
    """The options of a stage's mixer; see `mixer_options`."""
    return mixer_options(stage.chosen_mixer, at)
