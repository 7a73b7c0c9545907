"""The seam between what computes a graph and everything that uses it: a runtime is named by "module:attr".

Each backend is one file in `backends/` and one line in `OPENERS`; others pass a "module:attr" of theirs.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from compactor_runtimes.tables import resolve

if TYPE_CHECKING:
    from numpy.typing import NDArray

OPENERS = {
    "onnx": "compactor_runtimes.backends.ort:open_runtime",
    "tensorrt": "compactor_runtimes.backends.tensorrt:open_tensorrt",
    "tensorrt-rtx": "compactor_runtimes.backends.tensorrt:open_tensorrt_rtx",
}
"""Artifact format -> opener `(source: Path, *, threads: int | None) -> Runtime`."""

CODE = {"tensorrt", "tensorrt-rtx"}
"""Formats whose files are code; their openers take `trust: bool` as well and refuse without it."""


class Runtime(Protocol):
    """An opened graph: names of its inputs and outputs, and what really computes it (`provider`)."""

    inputs: list[str]
    outputs: list[str]
    provider: str

    def run(self, feeds: "Mapping[str, NDArray[Any]]") -> "dict[str, NDArray[Any]]":
        """Compute every output for one set of inputs.

        Raises:
            UsageError: the graph refuses feeds of these shapes or types.
        """
        ...

    def close(self) -> None:
        """Release what the runtime holds; a second call does nothing."""
        ...


def open_runtime(target: str, source: Path, *, threads: int | None = None, trust: bool = False) -> Runtime:
    """Open `source` with the runtime named `target`.

    Args:
        target: "package.module:attr" of an opener, for example a value of `OPENERS`.
        source: the file or folder that the opener reads.
        threads: threads within one operator; None leaves it to the runtime.
        trust: whoever made `source` is trusted with running code; only for openers of the formats in `CODE`.

    Raises:
        UsageError: `target` names nothing.
        MissingDependency: the package behind the runtime is not installed.
    """
    options = {"trust": True} if trust else {}
    return cast(Runtime, resolve(target)(source, threads=threads, **options))
