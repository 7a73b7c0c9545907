"""A linear probe: multinomial logistic regression on fixed features, the same for the same rows."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

STEPS = 500  # of L-BFGS, at most; it ends where the gradient is below GRADIENT
GRADIENT, CHANGE = 1e-7, 1e-12


@dataclass(frozen=True)
class LinearProbe:
    """Logits [B, C] of features [B, D]: `weight` float32 [C, D], `bias` [C]."""

    weight: Tensor
    bias: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """Answer, in float32."""
        return F.linear(features.float(), self.weight, self.bias)


def fit_probe(features: Tensor, labels: Tensor, *, num_classes: int, l2: float) -> LinearProbe:
    """Minimise mean cross-entropy + l2 / 2 * (|W|^2 + |b|^2) over features of mean 0 and variance 1.

    The bias is penalised too: that makes the minimum a single one, also where a class has no row. It is found
    from zero on by L-BFGS in float64; the scales of the features are folded into the weights afterwards.

    Args:
        features: [n, D].
        labels: int64 [n], each in 0..C-1.
        num_classes: C.
        l2: penalty > 0.
    """
    rows = features.double()
    mean, scale = rows.mean(0), rows.std(0, correction=0)
    scale = torch.where(scale > 0, scale, 1.0)
    rows = (rows - mean) / scale
    weight = rows.new_zeros(num_classes, rows.shape[1], requires_grad=True)
    bias = rows.new_zeros(num_classes, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=STEPS,
        tolerance_grad=GRADIENT,
        tolerance_change=CHANGE,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        found = F.cross_entropy(F.linear(rows, weight, bias), labels)
        total = found + l2 / 2 * (weight.square().sum() + bias.square().sum())
        torch.autograd.backward(total)
        return total

    with torch.enable_grad():
        optimizer.step(loss)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        folded = weight / scale
        return LinearProbe(folded.float(), (bias - folded @ mean).float())
