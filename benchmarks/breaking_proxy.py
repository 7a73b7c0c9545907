"""A TCP proxy on loopback whose connections break after a number of bytes that a test draws."""

import socket
import threading
from collections.abc import Callable
from types import TracebackType


class BreakingProxy:
    """Pass bytes on to a port; `left` says after how many of them, in both directions, a connection breaks.

    None = this one does not break.
    """

    def __init__(self, port: int, left: Callable[[], int | None]) -> None:
        """Listen on a free port."""
        self.target, self.left = port, left
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "BreakingProxy":
        """Be open for a block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:  # closed
                return
            server = socket.create_connection(("127.0.0.1", self.target))
            budget = _Budget(self.left())
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=_pass, args=(source, sink, budget), daemon=True).start()


class _Budget:
    def __init__(self, left: int | None) -> None:
        self.left, self.lock = left, threading.Lock()

    def take(self, count: int) -> int:
        """How many of so many bytes still pass."""
        with self.lock:
            if self.left is None:
                return count
            taken = min(count, self.left)
            self.left -= taken
            return taken


def _pass(source: socket.socket, sink: socket.socket, budget: _Budget) -> None:
    try:
        while data := source.recv(16_384):
            taken = budget.take(len(data))
            sink.sendall(data[:taken])
            if taken < len(data):
                break
    except OSError:
        pass
    for one in (source, sink):
        try:
            one.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        one.close()
