"""Teacher mixers: many teachers -> one Outputs that holds both averages, of probabilities and of logits.

A new mixer is one file, one line in MIXERS and one test.
"""

from typing import Protocol

from compactor.records import Outputs

MIXERS = {"mean": "compactor.mixers.mean:MeanMixer"}
DEFAULT_MIXER = "mean"


class TeacherMixer(Protocol):
    """The contract of a mixer."""

    def __call__(self, outputs: list[Outputs]) -> Outputs:
        """Mix the outputs of all teachers on the same samples."""
