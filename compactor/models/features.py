"""Inner tensors of a model by name: which ones there are, and their capture while it runs."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

import torch
from torch import Tensor, nn

from compactor_runtimes.errors import UsageError


@dataclass(frozen=True)
class Feature:
    """An inner tensor [..., width]: the output (or its first part) of the module at `path`, or its input.

    With `is_map` it is [B, width, H, W].
    """

    path: str
    width: int
    side: Literal["output", "input"] = "output"
    is_map: bool = False


@contextmanager
def capture(module: nn.Module, wanted: Mapping[str, Feature]) -> Iterator[dict[str, Tensor]]:
    """Yield a dict that forwards inside the block fill with {name: tensor}; its hooks go at the end.

    Raises:
        UsageError: the module has no sub-module at a path.
    """
    seen: dict[str, Tensor] = {}
    handles = []
    modules = dict(module.named_modules()) if wanted else {}
    for name, feature in wanted.items():
        if feature.path not in modules:
            raise UsageError(
                f"feature path {feature.path!r}: {type(module).__name__} has no such module; "
                f"first ones: {list(modules)[1:6]}"
            )

        def keep(
            _: nn.Module, inputs: tuple[Any, ...], output: Any, name: str = name, side: str = feature.side
        ) -> None:
            value = inputs if side == "input" else output
            seen[name] = value if isinstance(value, Tensor) else value[0]

        handles.append(modules[feature.path].register_forward_hook(keep))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def before_linear_head(model: nn.Module, inputs: Mapping[str, Tensor]) -> Feature | None:
    """Find what goes into the linear layer whose output is a head's logits [B, C] as they are.

    The model runs once on `inputs`, without gradient and in eval mode, and is left as it was.

    Returns:
        The first such head's; None where logits are made in another way.
    """
    layers = {path: one for path, one in model.named_modules() if isinstance(one, nn.Linear)}
    answers, seen = _run(model, inputs, layers)
    for logits in answers.values():
        found = next((path for path, output in seen.items() if output is logits), None)
        if found is not None and logits.dim() == 2:
            return Feature(found, layers[found].in_features, "input")
    return None


def that_are_maps(
    model: nn.Module, inputs: Mapping[str, Tensor], said: Mapping[str, Feature]
) -> dict[str, Feature]:
    """Of the feature maps that a family states, those that are [B, width, H, W] as it says.

    The model runs once, as in `before_linear_head`. Vectors of patches, and channels in the last dimension,
    are left out.
    """
    if not said:
        return {}
    there = dict(model.named_modules())
    _, seen = _run(model, inputs, [one.path for one in said.values() if one.path in there])
    return {
        name: one
        for name, one in said.items()
        if one.path in seen and seen[one.path].dim() == 4 and seen[one.path].shape[1] == one.width
    }


def _run(
    model: nn.Module, inputs: Mapping[str, Tensor], paths: Iterable[str]
) -> tuple[Mapping[str, Tensor], dict[str, Tensor]]:
    """Run in eval mode without gradient; return answers and outputs at `paths`. The model stays as it was."""
    training = [(one, one.training) for one in model.modules()]
    place = next(chain(model.parameters(), model.buffers()), torch.empty(0)).device
    outputs = {path: Feature(path, 0) for path in paths}  # no width is known, and none is asked for
    try:
        with torch.no_grad(), capture(model, outputs) as seen:
            answers = model.eval()(**{name: value.to(place) for name, value in inputs.items()})
    finally:
        for one, mode in training:
            one.training = mode
    return answers, seen
