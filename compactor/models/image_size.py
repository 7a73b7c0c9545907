"""Which size of images a module takes: the data's as they are, or only one of its own; found by trying it."""

from collections.abc import Sequence

import torch
from torch import nn

from compactor.records import ImageInfo
from compactor_runtimes.errors import UsageError

REFUSALS = (RuntimeError, AssertionError, ValueError, IndexError, ZeroDivisionError)


def size_taken(
    module: nn.Module, image: ImageInfo, own: int | Sequence[int] | None, *, where: str
) -> tuple[int, int] | None:
    """Height and width that images are to be resized to for a module; None = it takes the data's as they are.

    Args:
        module: from pixels [B, C, H, W] to logits; left in the mode that it is in.
        image: the data's images.
        own: size that its configuration names, one number for both sides.
        where: opens messages, as `model timm:x`.

    Raises:
        UsageError: it takes neither the data's size nor its own.
    """
    said = _refusal(module, image.channels, (image.height, image.width))
    if said is None:
        return None
    sides = (own, own) if isinstance(own, int) else tuple(own or ())
    if len(sides) == 2 and all(isinstance(side, int) for side in sides):
        height, width = sides
        if _refusal(module, image.channels, (height, width)) is None:
            return height, width
    raise UsageError(
        f"{where}: takes no images of {image.height} x {image.width} pixels ({said}); set data.image_size to "
        "a size that it takes, or name another model"
    )


def _refusal(module: nn.Module, channels: int, size: tuple[int, int]) -> str | None:
    """What a module says of two black images of a size; None where it answers."""
    place = next(module.parameters(), torch.empty(0))
    modes = [(one, one.training) for one in module.modules()]
    try:
        with torch.no_grad():
            module.eval()(torch.zeros(2, channels, *size, device=place.device, dtype=place.dtype))
    except REFUSALS as error:
        return str(error).partition("\n")[0].rstrip(".") or type(error).__name__
    finally:
        for one, mode in modes:
            one.training = mode
    return None
