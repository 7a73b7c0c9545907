"""No soft target: the objectives read the labels of the batch."""

from compactor.targets import TargetPolicy


class GroundTruth(TargetPolicy):
    """Supervised training."""
