"""Deterministic inputs, and the formulas of the papers written anew in plain loops over floats (numpy)."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from compactor.records import Batch, Outputs, Soft, Step, Target

AT = Step(0, 1, 0, 1)


def wave(*shape: int, a: float, b: float, scale: float = 2.0) -> Tensor:
    """scale * sin(a k + b) of the k-th element, float64: numbers that anybody can make again."""
    count = int(np.prod(shape))
    return (scale * torch.sin(a * torch.arange(count, dtype=torch.float64) + b)).view(*shape)


# student, teacher and labels of four samples of five classes
S, T = wave(4, 5, a=1.7, b=0.3), wave(4, 5, a=2.3, b=1.1, scale=3.0)
Y = torch.tensor([1, 4, 0, 2])


def of(objective: Any, student: Tensor, teacher: Tensor, labels: Tensor | None = None) -> Tensor:
    """The one term of a logit objective, unreduced."""
    (term,) = terms(objective, student, teacher, labels).values()
    return term.loss


def terms(objective: Any, student: Tensor, teacher: Tensor, labels: Tensor | None = None) -> Any:
    """All terms of a logit objective; the teacher's logits become a soft target."""
    target = Target({"label": Soft(log_p=teacher.log_softmax(-1))})
    batch = Batch({}, {} if labels is None else {"label": labels}, torch.arange(len(student)))
    return objective(Outputs({"label": student}), None, target, batch, AT)


def of_feature(objective: Any, student: Tensor, teacher: Tensor, batch: Batch | None = None) -> Tensor:
    """The one term of a feature objective that names feature `f`, unreduced."""
    outputs = (Outputs({}, features={"f": one}) for one in (student, teacher))
    whole = Batch({}, {}, torch.arange(len(student))) if batch is None else batch
    (term,) = objective(*outputs, Target(), whole, AT).values()
    return term.loss


def gradient(objective: Any, student: Tensor, *rest: Any, call: Any = of) -> Tensor:
    """Of the mean over items, to the student's side."""
    leaf = student.clone().requires_grad_()
    (found,) = torch.autograd.grad(call(objective, leaf, *rest).mean(), leaf)
    return found


def numeric_gradient(objective: Any, student: Tensor, *rest: Any, call: Any = of) -> Tensor:
    """The same by central differences; the losses are float32, so steps are large and the result is rough."""
    found = torch.zeros_like(student)
    for index in np.ndindex(*student.shape):
        ends = []
        for step in (2e-2, -2e-2):
            moved = student.clone()
            moved[index] += step
            ends.append(call(objective, moved, *rest).double().mean())
        found[index] = (ends[0] - ends[1]) / 4e-2
    return found


def softmax(logits: Any) -> list[float]:
    exponentials = [np.exp(value) for value in logits]
    return [float(one / sum(exponentials)) for one in exponentials]


def kl(q: list[float], p: list[float]) -> float:
    return float(sum(a * np.log(a / b) for a, b in zip(q, p, strict=True)))


def pearson(first: list[float], second: list[float]) -> float:
    """r by its definition: covariance over the product of the deviations."""
    means = [sum(one) / len(one) for one in (first, second)]
    covariance = sum((a - means[0]) * (b - means[1]) for a, b in zip(first, second, strict=True))
    spread = [sum((a - mean) ** 2 for a in one) for one, mean in zip((first, second), means, strict=True)]
    return float(covariance / np.sqrt(spread[0] * spread[1]))


def huber(difference: float) -> float:
    return 0.5 * difference**2 if abs(difference) < 1 else abs(difference) - 0.5
