"""A student whose last layer has several outputs a class, folded into the class's logit, also when exported.

logit_c = logsumexp_s z[c * S + s]: the class's probability is then the sum of its subclasses' (as LELP, arXiv
2409.20449, deploys them).
"""

import torch
from torch import Tensor, nn

from compactor.models.features import Feature
from compactor.models.heads import DropoutLinear
from compactor.models.student import Student
from compactor.records import PENULTIMATE, SUBCLASSES
from compactor_runtimes.errors import UsageError


class FoldedLinear(nn.Module):
    """A linear layer [..., D] -> [..., C * S] and the fold to [..., C]; a class's subclasses lie together."""

    def __init__(self, scores: nn.Linear, subclasses: int) -> None:
        """Take the layer that scores subclasses, S of each class."""
        super().__init__()
        self.scores, self.subclasses = scores, subclasses

    def forward(self, features: Tensor) -> Tensor:
        """Fold the subclasses' scores."""
        return torch.logsumexp(self.scores(features).unflatten(-1, (-1, self.subclasses)), dim=-1)


def widen(model: Student, subclasses: int, name: str) -> list[str]:
    """Replace the layer that makes a student's logits by one of `subclasses` outputs a class, drawn anew.

    The student gets the feature `subclasses` [B, C * S], the scores before the fold.

    Returns:
        The names of the new weights.

    Raises:
        UsageError: it does not answer with one class a sample, or not by one linear layer.
    """
    heads = model.info.heads
    if len(heads) > 1 or (heads[0].level, heads[0].activation) != ("sample", "softmax"):
        raise UsageError(
            f"model {name}: subclasses {subclasses} found, but task {model.info.task} answers otherwise than "
            "with one class a sample, and only classes have subclasses; remove it"
        )
    found = model.features.get(PENULTIMATE)
    if found is None:
        raise UsageError(
            f"model {name}: subclasses {subclasses} found, but its logits are not the output of one linear "
            "layer that could be widened; remove it, or name another student"
        )
    old = model.get_submodule(found.path)
    assert isinstance(old, nn.Linear)
    wide = old.out_features * subclasses
    if isinstance(old, DropoutLinear):
        scores: nn.Linear = DropoutLinear(old.in_features, wide, old.dropout)
    else:
        scores = nn.Linear(old.in_features, wide, bias=old.bias is not None)
    parent, _, leaf = found.path.rpartition(".")
    setattr(model.get_submodule(parent), leaf, FoldedLinear(scores, subclasses))
    inner = f"{found.path}.scores"
    model.declared = {
        **model.declared,
        PENULTIMATE: Feature(inner, old.in_features, "input"),
        SUBCLASSES: Feature(inner, wide),
    }
    model.__dict__.pop("features", None)  # was found on the model as it was
    return [f"{inner}.{weight}" for weight in scores.state_dict()]
