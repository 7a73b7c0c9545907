"""The frozen teachers of a stage: eval mode, no gradient, own normalisation, mixed into one Outputs.

They are a plain object, never a sub-module of anything trained, so that train(), parameters() and
state_dict() of the student cannot reach them.
"""

from collections.abc import Sequence

import torch
from torch import nn

from compactor.mixers import TeacherMixer
from compactor.mixers.mean import MeanMixer
from compactor.models.features import capture
from compactor.records import Batch, Outputs


class Teachers:
    """Run all teachers on a batch; features are those of the first one."""

    def __init__(self, models: Sequence[nn.Module], mixer: TeacherMixer | None = None) -> None:
        """Freeze the models."""
        self.models = [model.eval().requires_grad_(False) for model in models]
        self.mixer = mixer or MeanMixer()
        self.device = torch.device("cpu")

    def to(self, device: torch.device) -> "Teachers":
        """Move all teachers to a device."""
        self.device = device
        for model in self.models:
            model.to(device)
        return self

    @torch.no_grad()
    def __call__(self, batch: Batch, features: frozenset[str] = frozenset()) -> Outputs:
        """Return what the mixer makes of all logits, and the features asked for."""
        outputs = []
        for index, model in enumerate(self.models):
            with capture(model, features if index == 0 else frozenset()) as seen:
                outputs.append(Outputs(logits=model(**batch.x), features=seen))
        return self.mixer(outputs)
