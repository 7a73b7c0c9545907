"""The two TensorRT products behind one Python API: TensorRT and TensorRT for RTX.

Which module it is and how it logs is said here. Engines are built by the exporters and opened by
`tensorrt.py`.
"""

import re
from typing import Any

from compactor_runtimes.errors import needs_extra

PRODUCTS = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
"""Artifact format, which is also the name of the extra -> Python module."""

# What the products add for their own developers, "In compileGraph at /_src/optimizer/codeGenerator.cpp:2012",
# and, after a reason, that CUDA has no GPU either
_PLACE = re.compile(
    r"\s*In \S+ at \S+?:\d+|\w+\.cpp:\d+: |\s*\[checkMacros\.cpp::catchCudaError.*", re.DOTALL
)
_LONGEST = 400


def open_product(format: str) -> Any:
    """Import the module of a product; `format` is a key of `PRODUCTS`.

    Raises:
        MissingDependency: it is not installed.
    """
    if format == "tensorrt":
        with needs_extra("tensorrt"):
            import tensorrt
        return tensorrt
    with needs_extra("tensorrt-rtx"):
        import tensorrt_rtx
    return tensorrt_rtx


def quiet_logger(trt: Any) -> Any:
    """Make a logger of the product that prints nothing: it keeps `errors` and `warnings` as lists of text."""

    class Kept(trt.ILogger):  # type: ignore[misc]  # the base class is known only now
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []
            self.warnings: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(one_line(message))
            elif severity == trt.ILogger.WARNING:
                self.warnings.append(one_line(message))

    return Kept()


def first_error(logger: Any) -> str:
    """Return the first error that a logger kept and that says more than that CUDA has failed as well."""
    errors: list[str] = logger.errors
    told = [text for text in errors if "catchCudaError" not in text]
    return (told or errors or ["no reason was given"])[0]


def one_line(text: str) -> str:
    """Render a message of the product in one line, without places in its own sources."""
    line = " ".join(_PLACE.sub("", text).split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."
