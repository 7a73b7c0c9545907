"""The stack on which the system runs a thread's signal handlers, kept as it was before OpenVINO.

OpenVINO gives a thread that compiles a stack of its own, and takes it back with the model. Of several models
it puts the stack of one back that is gone; the next signal, such as Ctrl-C, then ends the process.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from mmap import PAGESIZE

_DISABLED = 2  # SS_DISABLE: handlers run on the thread's usual stack
_ASYNC = 1  # MS_ASYNC: asks for nothing, but fails where no memory is


class SignalStack(ctypes.Structure):
    """`stack_t` of Linux."""

    _fields_ = (("place", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextmanager
def kept_signal_stack() -> Iterator[None]:
    """Leave this thread with the stack that it had before the block; on Linux, nothing is done elsewhere.

    It has none afterwards where that stack's memory is gone, or where the system no longer takes it (with AMX
    in use it asks for larger ones).
    """
    if sys.platform != "linux":
        yield
        return
    before = signal_stack()
    try:
        yield
    finally:
        if not _is_there(before) or not set_signal_stack(before):
            set_signal_stack(SignalStack(None, _DISABLED, 0))


def signal_stack() -> SignalStack:
    """This thread's, as it is now."""
    found = SignalStack()
    ctypes.CDLL(None).sigaltstack(None, ctypes.byref(found))
    return found


def set_signal_stack(stack: SignalStack) -> bool:
    """Give this thread a stack; whether the system takes it."""
    return bool(ctypes.CDLL(None).sigaltstack(ctypes.byref(stack), None) == 0)


def _is_there(stack: SignalStack) -> bool:
    """Whether all of a stack is memory of this process; without one there is nothing that could be gone."""
    if stack.flags & _DISABLED or stack.place is None:
        return True
    begin = stack.place - stack.place % PAGESIZE
    size = ctypes.c_size_t(stack.place + stack.size - begin)
    return bool(ctypes.CDLL(None).msync(ctypes.c_void_p(begin), size, _ASYNC) == 0)
