"""The processes that torchrun started: which one writes, and how all of them end."""

import gc
import os

import torch


def is_main_process() -> bool:
    """Whether this is the process that writes, among those that torchrun started."""
    return int(os.environ.get("RANK", "0")) == 0


def wait_for_all() -> None:
    """Let no process go on before all are here: what the main one wrote can then be read."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()


def end_processes() -> None:
    """Leave the process group, all at once; without one, do nothing.

    DataParallel wrappers hold the group in reference cycles. If those outlive the interpreter, gloo's worker
    threads release tensors without it and the process aborts (PyTorch issue 179291): collect them first.
    """
    if torch.distributed.is_initialized():
        wait_for_all()
        gc.collect()
        torch.distributed.destroy_process_group()
