"""The outermost layer: every request gets an id, is counted, timed and logged, whatever becomes of it."""

import logging
import re
from random import Random
from time import perf_counter_ns

from compactor_runtimes.server.failures import (
    CLOSED,
    App,
    Message,
    Receive,
    Scope,
    Send,
    refusal_of,
    send_refusal,
)
from compactor_runtimes.server.guard import OPEN, ClientLeft
from compactor_runtimes.server.metrics import Metrics
from compactor_runtimes.server.routes import ROUTE

HEADER = b"x-request-id"
_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY"}
)
_log = logging.getLogger("compactor.access")


class Observed:
    """An ASGI application around another one."""

    def __init__(self, app: App, metrics: Metrics) -> None:
        """Bind the application and what counts."""
        self._app, self._metrics = app, metrics
        # ids must differ, and need not be secret: to ask the system for each would hand the interpreter over
        self._bits = Random().getrandbits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; an id that a client sent is kept where it is one."""
        if scope["type"] != "http":
            raise RuntimeError(f"{scope['type']}: HTTP alone is served")
        started = perf_counter_ns()
        given = next((value for name, value in scope["headers"] if name == HEADER), b"")
        request_id = given if _ID.fullmatch(given) else b"%032x" % self._bits(128)
        status = 0

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), (HEADER, request_id)]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except ClientLeft:
            status = CLOSED
        except Exception as error:
            refusal = refusal_of(error)
            if status:
                raise
            await send_refusal(noted, refusal, close=True)
        finally:
            self._note(scope, status or CLOSED, (perf_counter_ns() - started) / 1e9, request_id.decode())

    def _note(self, scope: Scope, status: int, seconds: float, request_id: str) -> None:
        """Count and log; a method or path that a client made up is `other`."""
        route = scope.get(ROUTE, "other")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.request(route, method, status, seconds)
        level = logging.DEBUG if route in OPEN else logging.INFO
        if _log.isEnabledFor(level):
            said = {"id": request_id, "method": method, "route": route, "status": status}
            _log.log(level, "request", extra={**said, "ms": round(seconds * 1e3, 3)})
