"""Models of the user's own code: `module:package.module:attr`, a callable that returns an nn.Module."""

from inspect import signature
from typing import Any

from torch import nn

from compactor.models.classifier import Backbone
from compactor.records import DataInfo
from compactor_runtimes.errors import UsageError
from compactor_runtimes.tables import resolve


def build(name: str, info: DataInfo, options: dict[str, Any], pretrained: bool) -> Backbone:
    """Call `attr(num_classes=..., **options)`; pixels come in [0, 1] unless the recipe gives mean and std.

    Raises:
        UsageError: it cannot be imported, or it does not return a module.
    """
    if pretrained:
        raise UsageError(f"model module:{name}: has no weights of its own; give weights: FILE.safetensors")
    try:
        factory = resolve(name)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"model module:{name}: module {error.name!r} cannot be imported; "
            "install it or set PYTHONPATH to its folder"
        ) from error
    try:
        signature(factory).bind(num_classes=info.num_classes(), **options)
    except TypeError as error:
        raise UsageError(
            f"model module:{name}: cannot be called with num_classes and options {options}: {error}"
        ) from error
    module = factory(num_classes=info.num_classes(), **options)
    if not isinstance(module, nn.Module):
        raise UsageError(f"model module:{name}: returned {type(module).__name__}, expected a torch.nn.Module")
    return Backbone(module, [0.0] * info.channels, [1.0] * info.channels)
