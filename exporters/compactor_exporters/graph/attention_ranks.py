"""Attention over more axes than torch translates: windows or blocks beside batch and heads.

torch writes scaled_dot_product_attention of four axes [B, H, L, D] only. Where a forward has more (nest,
twins, hiera), the ones in front are folded into one for the call, which computes the same.
"""

from typing import TYPE_CHECKING, Any

from compactor_runtimes.errors import needs_extra

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from torch import Tensor

KNOWN_AXES = 4


def four_axes() -> "AbstractContextManager[Any]":
    """Fold the axes in front of every attention of more than four that is called in the block."""
    with needs_extra("export"):
        import torch.nn.functional as F
        from torch.overrides import TorchFunctionMode

    class FourAxes(TorchFunctionMode):
        def __torch_function__(
            self, function: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            named = dict(kwargs or {})
            if function is not F.scaled_dot_product_attention or len(args) < 3 or args[0].dim() <= KNOWN_AXES:
                return function(*args, **named)
            attend: Any = function  # its stub knows keywords alone
            query, key, value, *rest = args
            mask = rest.pop(0) if rest else named.pop("attn_mask", None)
            front = query.shape[:-3]
            if mask is not None and mask.dim() > 2:
                mask = mask.expand(*query.shape[:-2], *mask.shape[-2:]).flatten(0, -KNOWN_AXES)
            folded: Tensor = attend(
                *(one.flatten(0, -KNOWN_AXES) for one in (query, key, value)), mask, *rest, **named
            )
            return folded.reshape(*front, *folded.shape[1:])

    return FourAxes()
