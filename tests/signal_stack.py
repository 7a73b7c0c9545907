"""The stack on which the system runs signal handlers.

OpenVINO gives the thread one of its own, and may leave one behind that is gone: the next signal, which a test
sends to itself, would end the process.
"""

import ctypes
import sys


class SignalStack(ctypes.Structure):
    """`stack_t` of Linux."""

    _fields_ = (("place", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


def signal_stack() -> SignalStack:
    """This thread's, as it is now."""
    found = SignalStack()
    if sys.platform == "linux":
        ctypes.CDLL(None).sigaltstack(None, ctypes.byref(found))
    return found


def set_signal_stack(stack: SignalStack) -> None:
    """Take a stack again that `signal_stack` gave."""
    if sys.platform == "linux":
        ctypes.CDLL(None).sigaltstack(ctypes.byref(stack), None)
