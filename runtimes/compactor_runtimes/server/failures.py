"""What an error is over HTTP: its status, and {"error": ...} as the body."""

import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import msgspec

from compactor_runtimes.errors import (
    CompactorError,
    QueueFullError,
    TimeLimitError,
    UnavailableError,
    UsageError,
)

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
Scope = MutableMapping[str, Any]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_log = logging.getLogger("compactor.server")
# the first that an error is an instance of
_STATUSES: tuple[tuple[type[CompactorError], int], ...] = (
    (QueueFullError, 503),
    (UnavailableError, 503),
    (TimeLimitError, 504),
    (UsageError, 400),
)
CLOSED = 499
"""Logged and counted where the client left before its answer; never sent."""


class Refusal(Exception):
    """A request that is answered with a status of HTTP's own, such as 404 or 413."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        """Name the status and why."""
        self.status, self.reason = status, reason
        self.headers: Mapping[str, str] = {} if headers is None else headers
        super().__init__(reason)


def refusal_of(error: Exception) -> Refusal:
    """What an error is answered with; one that is our fault or the bundle's is logged, and not told."""
    if isinstance(error, Refusal):
        return error
    for kind, status in _STATUSES:
        if isinstance(error, kind):
            reason = str(error)
            return Refusal(status, reason, {"retry-after": "1"} if status == 503 else None)
    _log.error("request failed", exc_info=error)
    reason = str(error) if isinstance(error, CompactorError) else "an error of the server, which logged it"
    return Refusal(500, reason)


def body_of(refusal: Refusal) -> bytes:
    """The body of an error."""
    return msgspec.json.encode({"error": refusal.reason.encode("utf-8", "replace").decode()})


async def send_refusal(send: Send, refusal: Refusal, *, close: bool = False) -> None:
    """Answer with an error from outside of all routes; `close` ends the connection with it."""
    body = body_of(refusal)
    headers = {"content-type": "application/json", "content-length": str(len(body)), **refusal.headers}
    if close:
        headers["connection"] = "close"
    listed = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": listed})
    await send({"type": "http.response.body", "body": body})
