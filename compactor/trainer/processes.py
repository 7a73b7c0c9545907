"""The processes that torchrun started: which one writes, what all of them know, and how all of them end."""

import gc
import os

import torch
from torch import Tensor


def is_main_process() -> bool:
    """Whether this is the process that writes, among those that torchrun started."""
    return int(os.environ.get("RANK", "0")) == 0


def wait_for_all() -> None:
    """Let no process go on before all are here: what the main one wrote can then be read."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()


def gather_rows(rows: Tensor) -> Tensor:
    """The rows [B, ...] of all processes, in their order, in every one of them; the parts may differ in B.

    Without gradient. With a single process it is what was given.
    """
    if not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1:
        return rows
    world = torch.distributed.get_world_size()
    count = torch.tensor([len(rows)], device=rows.device)
    counts = [torch.empty_like(count) for _ in range(world)]
    torch.distributed.all_gather(counts, count)
    lengths = [int(one) for one in counts]
    padded = rows.new_zeros((max(lengths), *rows.shape[1:]))  # a gather wants equal shapes
    padded[: len(rows)] = rows.detach()
    parts = [torch.empty_like(padded) for _ in range(world)]
    torch.distributed.all_gather(parts, padded)
    return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])


def end_processes() -> None:
    """Leave the process group, all at once; without one, do nothing.

    DataParallel wrappers hold the group in reference cycles. If those outlive the interpreter, gloo's worker
    threads release tensors without it and the process aborts (PyTorch issue 179291): collect them first.
    """
    if torch.distributed.is_initialized():
        wait_for_all()
        gc.collect()
        torch.distributed.destroy_process_group()
