"""Teacher mixers: many teachers -> one Outputs that holds both averages, of probabilities and of logits."""

from typing import Protocol

from compactor.records import Outputs


class TeacherMixer(Protocol):
    """The contract of a mixer."""

    def __call__(self, outputs: list[Outputs]) -> Outputs:
        """Mix the outputs of all teachers on the same samples."""
