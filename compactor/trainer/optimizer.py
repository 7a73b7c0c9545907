"""SGD and AdamW over the student's and the objectives' own parameters."""

from collections.abc import Iterable

import torch
from torch import nn

from compactor.records import Training


def make_optimizer(
    training: Training, student: nn.Module, train_only: Iterable[tuple[nn.Module, float | None]]
) -> torch.optim.Optimizer:
    """Build the optimiser; every group remembers its base rate, and whether the schedule applies to it.

    SGD decays all weights (coupled L2, as in the papers); AdamW leaves biases and norms (fewer than two
    dimensions) undecayed. The objectives' train-only modules form groups without decay, each with its own
    constant rate or, where that is None, the student's.
    """
    parameters = [parameter for parameter in student.parameters() if parameter.requires_grad]
    groups: list[dict[str, object]] = []
    if training.optimizer == "adamw":
        decayed = [parameter for parameter in parameters if parameter.dim() >= 2]
        plain = [parameter for parameter in parameters if parameter.dim() < 2]
        groups += [
            {"params": decayed, "weight_decay": training.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
    else:
        groups.append({"params": parameters, "weight_decay": training.weight_decay})
    groups = [{**group, "base_lr": training.lr, "scheduled": True} for group in groups if group["params"]]
    for module, lr in train_only:
        group: dict[str, object] = {"params": list(module.parameters()), "weight_decay": 0.0}
        groups.append({**group, "base_lr": training.lr if lr is None else lr, "scheduled": lr is None})
    if training.optimizer == "adamw":
        # fused: one pass over a model's memory where the default makes eight, also on CPUs
        return torch.optim.AdamW(groups, lr=training.lr, fused=True)
    return torch.optim.SGD(groups, lr=training.lr, momentum=training.momentum, nesterov=training.nesterov)
