"""Uvicorn's protocol with what it leaves open: bounds on heads of requests, connections and slow readers."""

from asyncio import AbstractEventLoop, TimerHandle, Transport
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from compactor_runtimes.errors import needs_extra
from compactor_runtimes.server.failures import Refusal, body_of
from compactor_runtimes.server.settings import Bounds

if TYPE_CHECKING:
    from uvicorn.protocols.http.h11_impl import H11Protocol as _Base
else:
    _Base = object  # `protocol_class` puts uvicorn's class behind, which only a server imports

_PHRASES = {
    400: "Bad Request",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


CONNECTION = "compactor.connection"
"""Where a request's scope holds its connection."""


class _Joined:
    """A transport that sends what is written in one go of the loop, such as head and body, as one part."""

    def __init__(self, transport: Transport, loop: AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._held: list[bytes] = []

    def write(self, data: bytes) -> None:
        if data:
            if not self._held:
                self._loop.call_soon(self._flush)
            self._held.append(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        self._held.clear()
        self._transport.abort()

    def _flush(self) -> None:
        if self._held:
            data = b"".join(self._held)
            self._held.clear()
            self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class _Bounded(_Base):
    """One connection. A head is pending from its first byte until it is whole; the first from the start."""

    bounds: Bounds
    _head: TimerHandle | None = None
    _unread: TimerHandle | None = None
    _leaves: Callable[[], None] | None = None

    @property
    def has_whole_body(self) -> bool:
        """Whether the body of the request that is answered has arrived, so that to read it takes no time."""
        return not self.cycle.more_body

    def watch(self, leaves: Callable[[], None] | None) -> None:
        """Call `leaves` when the client leaves, at once where it has; None = no more."""
        self._leaves = leaves
        if leaves is not None:
            self.flow.resume_reading()  # or nobody would see it leave
            if self.cycle.disconnected:
                leaves()

    def handle_events(self) -> None:
        """Let what answers a request reach its connection; it begins later."""
        super().handle_events()
        if self.cycle is not None:
            self.cycle.scope[CONNECTION] = self  # type: ignore[literal-required]  # a key of our own

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Refuse one too many."""
        super().connection_made(_Joined(transport, self.loop))  # type: ignore[arg-type]
        if len(self.connections) > self.bounds.connections:
            self._refuse(Refusal(503, "connections: as many are open as may be; ask again a little later"))
        else:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers."""
        self._stop_head()
        self._stop_unread()
        super().connection_lost(exc)
        if self._leaves is not None:
            self._leaves()

    def data_received(self, data: bytes) -> None:
        """Read on, and see whether a head is still pending."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_head()
        elif self._head is None and not self.transport.is_closing():
            self._await_head()

    def on_response_complete(self) -> None:
        """Between requests uvicorn's own time runs."""
        self._stop_head()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """What h11 cannot read: too large a head, or no HTTP. In the midst of an answer it is cut."""
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.abort()
        elif len(self.conn.trailing_data[0]) > self.bounds.head_bytes:
            self._refuse(Refusal(431, f"headers: more than the {self.bounds.head_bytes:,} bytes expected"))
        else:
            self._refuse(Refusal(400, "request: no HTTP/1.1 found"))

    def pause_writing(self) -> None:
        """The client does not read; it has its time for that."""
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(self.bounds.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads again."""
        self._stop_unread()
        super().resume_writing()

    def _await_head(self) -> None:
        self._head = self.loop.call_later(self.bounds.head_seconds, self._late)

    def _stop_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _stop_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _late(self) -> None:
        self._head = None
        if not self.transport.is_closing():
            seconds = self.bounds.head_seconds
            self._refuse(
                Refusal(408, f"headers: did not arrive within {seconds:g} seconds; send them faster")
            )

    def _refuse(self, refusal: Refusal) -> None:
        """Answer past h11, whose state may be that of an error, and close."""
        body = body_of(refusal)
        head = (
            f"HTTP/1.1 {refusal.status} {_PHRASES[refusal.status]}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nretry-after: 1\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


def protocol_class(bounds: Bounds) -> type[_Base]:
    """Make the class of connections that keep to `bounds`.

    Raises:
        MissingDependency: uvicorn is not installed.
    """
    with needs_extra("serve"):
        from uvicorn.protocols.http.h11_impl import H11Protocol

    made: type[_Base] = type("BoundedProtocol", (_Bounded, H11Protocol), {"bounds": bounds})
    return made
