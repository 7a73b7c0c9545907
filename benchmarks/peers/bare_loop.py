"""The peer of the trainer: the loop that a user would write by hand, with the batches ready in memory."""

from time import perf_counter

import torch
from torch import nn


def step_seconds(
    model: nn.Module, pixels: torch.Tensor, labels: torch.Tensor, *, steps: int, batch: int
) -> list[float]:
    """Train with plain SGD on a tensor in memory, without augmentation; return each step's seconds."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    seconds = []
    model.train()
    for step in range(steps):
        started = perf_counter()
        start = step * batch % len(pixels)
        loss = nn.functional.cross_entropy(
            model(pixels[start : start + batch])["label"], labels[start : start + batch]
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seconds.append(perf_counter() - started)
    return seconds
