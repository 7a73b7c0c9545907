"""SGD and AdamW over the student's and the objectives' own parameters, and which of them decay."""

import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from msgspec import UNSET
from torch import nn

from compactor.records import Training

NORMALISES = re.compile(r"(batch|layer|group|instance|rms|simple|evo)_?norm", flags=re.IGNORECASE)

# methods of torch's optimisers that tell its compiler to leave them alone
_TOLD = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


@dataclass(frozen=True)
class TrainOnly:
    """A module that an objective trains beside the student, and how (see `contracts.Objective`)."""

    module: nn.Module
    lr: float | None = None
    as_student: bool = False


def make_optimizer(
    training: Training, student: nn.Module, train_only: Iterable[TrainOnly], *, is_divided: bool = False
) -> torch.optim.Optimizer:
    """Build the optimiser; every group remembers its base rate, and whether the schedule applies to it.

    Weight decay is coupled L2 with SGD, as in the papers. What `undecayed` names has none: if it is absent,
    nothing with SGD, and with AdamW what has fewer than two dimensions. The objectives' train-only modules
    form groups without decay, but for those that are trained as the student is; each has its own constant
    rate or, where that is None, the student's. `is_divided` tells that the student's weights are.
    """
    groups = [
        {**group, "base_lr": training.lr, "scheduled": True} for group in _decay_groups(training, student)
    ]
    for one in train_only:
        own = _decay_groups(training, one.module) if one.as_student else [_undecayed_group(one.module)]
        rate = {"base_lr": training.lr if one.lr is None else one.lr, "scheduled": one.lr is None}
        groups += [{**group, **rate} for group in own]
    # fused: one pass over a model's memory where the default makes several, also on CPUs; torch has it for
    # whole tensors alone
    passes = {"fused": False, "foreach": False} if is_divided else {"fused": True}
    if training.optimizer == "adamw":
        return _uncompiled(torch.optim.AdamW)(groups, lr=training.lr, **passes)
    return _uncompiled(torch.optim.SGD)(
        groups, lr=training.lr, momentum=training.momentum, nesterov=training.nesterov, **passes
    )


def _uncompiled(kind: type[torch.optim.Optimizer]) -> Callable[..., torch.optim.Optimizer]:
    """The class of an optimiser that does not load torch's compiler, and computes the same.

    torch's own load it, a third of all that a run imports, to tell it what not to compile. Here nothing is.
    """
    untold = {name: inspect.unwrap(getattr(kind, name)) for name in _TOLD}
    step = torch.no_grad()(inspect.unwrap(kind.step))
    return type(kind.__name__, (kind,), {**untold, "step": step})


def _undecayed_group(module: nn.Module) -> dict[str, Any]:
    return {"params": list(module.parameters()), "weight_decay": 0.0}


def _decay_groups(training: Training, module: nn.Module) -> list[dict[str, Any]]:
    """Groups of what is trained of a module, with and without decay; none is empty."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    rule = training.undecayed
    if rule is UNSET:
        rule = "vectors" if training.optimizer == "adamw" else "none"
    plain = {id(parameter) for parameter in parameters if rule == "vectors" and parameter.dim() < 2}
    if rule == "norms":
        plain = {id(parameter) for parameter in norm_parameters(module)}
    groups = [
        {
            "params": [one for one in parameters if id(one) not in plain],
            "weight_decay": training.weight_decay,
        },
        {"params": [one for one in parameters if id(one) in plain], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def norm_parameters(module: nn.Module) -> list[nn.Parameter]:
    """The affine parameters of normalisation layers.

    A layer normalises if its class, or one that this derives from, is called so: batch, layer, group,
    instance or RMS norm. timm and transformers write some anew that derive from none of torch's.
    """
    return [
        parameter
        for layer in module.modules()
        if any(NORMALISES.search(kind.__name__) for kind in type(layer).__mro__)
        for parameter in layer.parameters(recurse=False)
    ]
