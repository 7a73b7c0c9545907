"""Closed-loop clients on kept connections: `python -m benchmarks.http_load PORT PATH CLIENTS SECONDS < BODY`.

One process, transports of asyncio and a parser that reads a length: clients must cost less than the server.
"""

import asyncio
import json
import sys
from time import perf_counter


class Client(asyncio.Protocol):
    """Asks again as soon as it has its answer."""

    def __init__(self, request: bytes, until: float) -> None:
        """Bind what is asked, and until when."""
        self._request, self._until = request, until
        self.took: list[float] = []
        self.errors = 0
        self._held = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the first time."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        self._begin = perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Take an answer once it is whole."""
        self._held += data
        head, blank, body = self._held.partition(b"\r\n\r\n")
        if not blank:
            return
        at = head.lower().index(b"content-length:") + 15
        if len(body) < int(head[at : head.find(b"\r\n", at) if b"\r\n" in head[at:] else None]):
            return
        now = perf_counter()
        self.took.append(now - self._begin)
        self.errors += not head.startswith(b"HTTP/1.1 200")
        self._held = b""
        if now < self._until:
            self._ask()
        else:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        """Say that it is over; an end before the time is an error."""
        self.errors += perf_counter() < self._until
        if not self.done.done():
            self.done.set_result(None)


async def load(port: int, path: str, clients: int, seconds: float, body: bytes) -> dict[str, object]:
    """Let the clients ask for so long."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    request = head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body
    loop, begin = asyncio.get_running_loop(), perf_counter()
    made = [
        (await loop.create_connection(lambda: Client(request, begin + seconds), "127.0.0.1", port))[1]
        for _ in range(clients)
    ]
    await asyncio.gather(*(one.done for one in made))
    took = sorted(value for one in made for value in one.took)
    return {
        "requests": len(took),
        "seconds": perf_counter() - begin,
        "errors": sum(one.errors for one in made),
        "took_ms": [round(value * 1000, 3) for value in took],
    }


if __name__ == "__main__":
    _, port, path, clients, seconds = sys.argv
    print(
        json.dumps(asyncio.run(load(int(port), path, int(clients), float(seconds), sys.stdin.buffer.read())))
    )
