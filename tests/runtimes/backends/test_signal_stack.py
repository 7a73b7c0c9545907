"""A thread that used OpenVINO still lives through a signal, and keeps the stack for it that it had."""

import ctypes
import os
import subprocess
import sys
from contextlib import suppress
from mmap import mmap

import onnx
import pytest

from compactor_runtimes.backends.signal_stack import (
    SignalStack,
    kept_signal_stack,
    set_signal_stack,
    signal_stack,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="no other system is asked for its stacks")

SIZE = 1 << 16
INTERRUPTED = 7
CHILD = """
import os, signal, sys, time
from pathlib import Path
from compactor_runtimes.backends import open_runtime
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
opened = [open_runtime("openvino", Path(sys.argv[1]), threads=1) for _ in range(2)]
for each in opened:
    each.close()
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(10)
except KeyboardInterrupt:
    sys.exit(7)
"""


@pytest.fixture
def thread_stack():
    """A stack of this test's own, and the thread's put back afterwards."""
    before, memory = signal_stack(), mmap(-1, SIZE)
    place = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    yield SignalStack(place, 0, SIZE)
    set_signal_stack(before)


def told(stack):
    return stack.place, stack.flags, stack.size


@pytest.mark.slow
def test_an_interrupt_after_two_models_is_an_interrupt(tmp_path, make_classifier):
    source = tmp_path / "model.onnx"
    onnx.save(make_classifier(), source)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", CHILD, str(source)], env=environment, timeout=120)
    assert done.returncode == INTERRUPTED


def test_what_the_block_sets_is_undone_also_where_it_fails(thread_stack):
    none = SignalStack(None, 2, 0)  # the thread's own may be one that the system would not take again
    assert set_signal_stack(none)
    with kept_signal_stack():
        assert set_signal_stack(thread_stack)
    assert told(signal_stack()) == told(none)
    assert set_signal_stack(thread_stack)
    with suppress(ZeroDivisionError), kept_signal_stack():
        set_signal_stack(SignalStack(None, 2, 0))
        raise ZeroDivisionError
    assert told(signal_stack()) == told(thread_stack)


def test_a_stack_whose_memory_is_gone_is_not_put_back(thread_stack):
    memory = mmap(-1, SIZE)
    gone = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    assert set_signal_stack(SignalStack(gone, 0, SIZE))
    with kept_signal_stack():
        memory.close()
    assert signal_stack().flags == 2


def test_a_stack_that_the_system_refuses_leaves_none(thread_stack, monkeypatch):
    too_small = SignalStack(thread_stack.place, 0, 16)
    assert set_signal_stack(thread_stack)
    monkeypatch.setattr("compactor_runtimes.backends.signal_stack.signal_stack", lambda: too_small)
    with kept_signal_stack():
        pass
    assert signal_stack().flags == 2
