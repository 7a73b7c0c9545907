"""The two TensorRT products behind one Python API: TensorRT and TensorRT for RTX.

Which module it is and how it logs is said here. Engines are built by the exporters and opened by
`tensorrt.py`.
"""

import gc
import re
from functools import cache
from threading import Lock
from typing import Any
from weakref import ReferenceType, ref

from compactor_runtimes.errors import needs_extra

PRODUCTS = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
"""Artifact format, which is also the name of the extra -> Python module."""

# What the products add for their own developers, "In compileGraph at /_src/optimizer/codeGenerator.cpp:2012",
# and, after a reason, that CUDA has no GPU either
_PLACE = re.compile(
    r"\s*In \S+ at \S+?:\d+|\w+\.cpp:\d+: |\s*\[checkMacros\.cpp::catchCudaError.*", re.DOTALL
)
_LONGEST = 400
_LISTENING = Lock()


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


class Messages:
    """What the product said since `listen`, one line each."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.errors: list[str] = []
        self.warnings: list[str] = []


@cache
def quiet_logger(trt: Any) -> Any:
    """Return the one logger of a product in this process; it prints nothing and tells those who `listen`.

    The product keeps the first logger for all, and tells a second one so while it holds a lock. If Python
    then collects garbage in which a builder lies, the builder's end waits for that lock for ever.
    """

    class Kept(trt.ILogger):  # type: ignore[misc]  # the base class is known only now
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.listeners: tuple[ReferenceType[Messages], ...] = ()

        def log(self, severity: Any, message: str) -> None:
            is_error = severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR)
            if not is_error and severity != trt.ILogger.WARNING:
                return
            for listener in self.listeners:
                messages = listener()
                if messages is not None:
                    (messages.errors if is_error else messages.warnings).append(one_line(message))

    return Kept()


def listen(trt: Any) -> Messages:
    """Return messages that grow from now on, for as long as the caller keeps them.

    Of two that listen at the same time, in two threads, each hears what the other's work says too.
    """
    messages = Messages()
    with _LISTENING:
        logger = quiet_logger(trt)
        living = (one for one in logger.listeners if one() is not None)
        logger.listeners = (*living, ref(messages))
    return messages


def with_quiet_logger(trt: Any, name: str) -> Any:
    """Make the product's `name`, Builder or Runtime, with our logger; no garbage is collected meanwhile.

    Another program's logger in the same process would have the product tell ours, as in `quiet_logger`.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        return getattr(trt, name)(quiet_logger(trt))
    finally:
        if collects:
            gc.enable()


def first_error(messages: Messages) -> str:
    """Return the first error that says more than that CUDA has failed as well."""
    told = [text for text in messages.errors if "catchCudaError" not in text]
    return (told or messages.errors or ["no reason was given"])[0]


def one_line(text: str) -> str:
    """Render a message of the product in one line, without places in its own sources."""
    line = " ".join(_PLACE.sub("", text).split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."
