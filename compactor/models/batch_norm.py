"""BatchNorm of a frozen model on the statistics of the batch at hand; its running statistics stay."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """All BatchNorm layers of a model, those of sub-classes (timm's, with an activation) among them."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


@contextmanager
def on_batch_statistics(models: Sequence[nn.Module]) -> Iterator[None]:
    """Normalise by the mean and variance of the batch, as in training, inside the block.

    Running means, variances and their counters are neither read nor written: a layer that tracks none has the
    batch alone to go by. Everything else (dropout, stochastic depth) stays in the mode that it is in.
    """
    layers = [layer for model in models for layer in batch_norms(model)]
    before = [(layer, layer.training, layer.track_running_stats) for layer in layers]
    try:
        for layer in layers:
            layer.training, layer.track_running_stats = True, False
        yield
    finally:
        for layer, training, tracks in before:
            layer.training, layer.track_running_stats = training, tracks
