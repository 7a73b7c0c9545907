"""`sharding: fsdp2`: a student and live teachers whose weights lie in parts on all processes.

torch's `fully_shard` (FSDP2; Zhao et al., arXiv 2304.11277, per parameter); of the student gradients and
optimiser state too. Checkpoints hold whole tensors in the form that one process writes, so that training goes
on with another number of processes.
"""

import copy
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from compactor.teachers import Teachers


def sharded_copy(model: nn.Module, device: torch.device) -> nn.Module:
    """A copy of a model that is divided among all processes, each repeated block by itself.

    Args:
        model: whole and on the CPU, where it stays; the copy's blocks go to the device one by one.
        device: of this process.
    """
    found = copy.deepcopy(model)
    for parameter in found.parameters():
        parameter.data = parameter.data.contiguous()  # FSDP takes no weights that lie channels last
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for block in _blocks(found):
        fully_shard(block, mesh=mesh)
    fully_shard(found, mesh=mesh)
    return found


def divided_teachers(teachers: Teachers, device: torch.device) -> Teachers:
    """The teachers with weights in parts; those given are left whole and on the CPU.

    Teachers on another runtime than torch stay as they are, in every process.
    """
    whole_ones = teachers.to(torch.device("cpu"))
    models = [
        sharded_copy(one, device) if any(True for _ in one.parameters()) else one for one in whole_ones.models
    ]
    return Teachers(models, teachers.mixer).to(device)


def _blocks(model: nn.Module) -> list[nn.Module]:
    """Elements of lists and sequences of modules that have weights, inner ones first."""
    found = [
        element
        for holder in model.modules()
        if isinstance(holder, (nn.ModuleList, nn.Sequential))
        for element in holder
        if any(True for _ in element.parameters()) and not isinstance(element, (nn.ModuleList, nn.Sequential))
    ]
    return list(dict.fromkeys(reversed(found)))


def whole(value: Any) -> Any:
    """A state with whole tensors on the CPU in the place of divided ones; all processes call it at once."""
    if isinstance(value, DTensor):
        return value.full_tensor().cpu()
    if isinstance(value, dict):
        return {key: whole(one) for key, one in value.items()}
    if isinstance(value, list):
        return [whole(one) for one in value]
    return value


def divided_like(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """An optimiser's whole state, divided as its parameters are.

    Args:
        optimizer: over divided parameters, in the order of the state.
        state: as `state_dict()` gives it, with whole tensors.
    """
    parameters = [one for group in optimizer.param_groups for one in group["params"]]
    found = {}
    for number, values in state["state"].items():
        like = parameters[int(number)]
        found[number] = {
            key: distribute_tensor(one.to(like.device), like.device_mesh, like.placements)
            if isinstance(like, DTensor) and isinstance(one, torch.Tensor) and one.shape == like.shape
            else one
            for key, one in values.items()
        }
    return {**state, "state": found}


def load_whole(model: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Put whole weights into a divided model."""
    with torch.no_grad():
        for name, value in model.state_dict().items():
            new = state[name]
            if isinstance(value, DTensor):
                new = distribute_tensor(new.to(value.device), value.device_mesh, value.placements)
            value.copy_(new)
