"""Capture the outputs of inner modules by path, through forward hooks that are removed at once."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from compactor_runtimes.errors import UsageError


@contextmanager
def capture(module: nn.Module, paths: frozenset[str]) -> Iterator[dict[str, Tensor]]:
    """Yield a dict that the forwards inside the block fill with {path: output}.

    Raises:
        UsageError: the module has no sub-module at a path.
    """
    seen: dict[str, Tensor] = {}
    handles = []
    modules = dict(module.named_modules()) if paths else {}
    for path in paths:
        if path not in modules:
            raise UsageError(
                f"feature path {path!r}: {type(module).__name__} has no such module; "
                f"first ones: {list(modules)[1:6]}"
            )

        def keep(_: nn.Module, __: object, output: Tensor, path: str = path) -> None:
            seen[path] = output

        handles.append(modules[path].register_forward_hook(keep))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
