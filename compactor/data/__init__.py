"""Data sets: what a recipe may say about them. Opening and loading them is in the modules beside this one.

Only the specs are re-exported, because they must be importable without numpy and torch.
"""

from compactor.data.spec import AugmentSpec, DataSpec

__all__ = ["AugmentSpec", "DataSpec"]
