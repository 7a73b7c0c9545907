"""What stands before every route: who may ask, how much and how long, and what a client that leaves changes.

1. A body is held in memory only up to a bound of its own, and to one of all bodies together.
2. Its length is looked at before it is read, and counted while it is.
3. When the client leaves, what it asked is cancelled: if its turn has not come, nothing is computed.
"""

import asyncio
import hmac
from collections.abc import Sequence

from compactor_runtimes.server.failures import (
    App,
    Message,
    Receive,
    Refusal,
    Scope,
    Send,
    send_refusal,
)
from compactor_runtimes.server.protocol import CONNECTION
from compactor_runtimes.server.settings import Bounds

OPEN = frozenset({"/v2/health/live", "/v2/health/ready"})
"""What is answered without a token: probes have none."""


class ClientLeft(Exception):
    """Nobody is there to be answered."""


class Guard:
    """An ASGI application around another one."""

    def __init__(self, app: App, bounds: Bounds, tokens: Sequence[bytes] = ()) -> None:
        """Bind the application; without `tokens` anybody may ask."""
        self._app, self._bounds, self._tokens = app, bounds, list(tokens)
        self._held_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request.

        Raises:
            ClientLeft: before the answer.
        """
        answer = _Answer(send)
        held = 0
        try:
            self._check_head(scope)
            body = bytearray()
            if scope["method"] not in ("GET", "HEAD"):
                held = self._reserve(scope)
                body = await self._read(scope, receive, held)
                self._held_bytes -= held - len(body)
                held = len(body)
            await self._answer(scope, answer, bytes(body))
        except Refusal as refusal:
            if not answer.begun:  # what is left of its body is not read: the connection ends
                await send_refusal(send, refusal, close=True)
        finally:
            self._held_bytes -= held

    def _check_head(self, scope: Scope) -> None:
        """Size of the head, and the token."""
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        size = len(scope.get("raw_path") or b"") + len(scope["query_string"])
        size += sum(len(name) + len(value) for name, value in headers)
        if size > self._bounds.head_bytes:
            raise Refusal(431, f"headers: {size:,} bytes found, at most {self._bounds.head_bytes:,} expected")
        if self._tokens and scope["path"] not in OPEN:
            given = next((value for name, value in headers if name == b"authorization"), b"")
            scheme, _, token = given.partition(b" ")
            known = [hmac.compare_digest(token.strip(), each) for each in self._tokens]
            if scheme.lower() != b"bearer" or not any(known):
                raise Refusal(
                    401,
                    "authorization: no known token found, `Bearer TOKEN` expected",
                    {"www-authenticate": "Bearer"},
                )

    def _reserve(self, scope: Scope) -> int:
        """Rules 1 and 2: note what a body may take before it is read; a body of no said length all it may."""
        bounds = self._bounds
        said = next((value for name, value in scope["headers"] if name == b"content-length"), None)
        size = bounds.body_bytes if said is None else int(said)
        if size > bounds.body_bytes:
            raise self._too_large()
        if self._held_bytes + size > bounds.bodies_bytes:
            raise Refusal(503, "body: the server holds as many as it may; ask again", {"retry-after": "1"})
        self._held_bytes += size
        return size

    async def _read(self, scope: Scope, receive: Receive, most: int) -> bytearray:
        """Read a whole body."""
        body = bytearray()
        try:
            whole = scope[CONNECTION].has_whole_body
            async with asyncio.timeout(None if whole else self._bounds.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientLeft
                    body += message.get("body", b"")
                    if len(body) > most:
                        raise self._too_large()
                    if not message.get("more_body", False):
                        return body
        except TimeoutError as error:
            raise Refusal(
                408, f"body: did not arrive within {self._bounds.body_seconds:g} seconds; send it faster"
            ) from error

    async def _answer(self, scope: Scope, answer: "_Answer", body: bytes) -> None:
        """Rule 3, within the time for an answer."""
        replayed = False

        async def replay() -> Message:
            nonlocal replayed
            if replayed:  # who asks once more waits for the end
                await asyncio.Event().wait()
            replayed = True
            return {"type": "http.request", "body": body, "more_body": False}

        asking = asyncio.current_task()
        left = False

        def leaves() -> None:
            nonlocal left
            if not answer.done and asking is not None:
                left = True
                asking.cancel()

        connection = scope[CONNECTION]
        connection.watch(leaves)
        try:
            async with asyncio.timeout(self._bounds.answer_seconds):
                await self._app(scope, replay, answer.send)
        except TimeoutError as error:
            raise Refusal(
                504, f"answer: not ready within {self._bounds.answer_seconds:g} seconds; ask again"
            ) from error
        except asyncio.CancelledError:
            if not left or asking is None:
                raise
            asking.uncancel()
            raise ClientLeft from None
        finally:
            connection.watch(None)

    def _too_large(self) -> Refusal:
        return Refusal(
            413, f"body: more than the {self._bounds.body_bytes:,} bytes expected; send less at once"
        )


class _Answer:
    """How far an answer has gone."""

    def __init__(self, send: Send) -> None:
        """Bind what sends it."""
        self._send = send
        self.begun = self.done = False

    async def send(self, message: Message) -> None:
        """Send a part, and note whether it is the last."""
        self.begun = True
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.done = True
        await self._send(message)
