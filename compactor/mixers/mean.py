"""`mixer: mean`: the uniform mean of all teachers, which stages have unless they name another."""

from typing import TYPE_CHECKING

from compactor.mixers import MixerOptions

if TYPE_CHECKING:
    from compactor.mixers.averages import MeanMixer


class Options(MixerOptions, frozen=True):
    """There are none."""

    def build(self) -> "MeanMixer":
        """Make the mixer."""
        from compactor.mixers.averages import MeanMixer

        return MeanMixer()
