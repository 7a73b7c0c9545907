"""Run the server until it is told to end: bind, load in the background, answer, drain."""

import logging
import socket
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING

from compactor_runtimes.errors import UnfitEnvironmentError, needs_extra
from compactor_runtimes.server.guard import Guard
from compactor_runtimes.server.metrics import Metrics
from compactor_runtimes.server.observed import Observed
from compactor_runtimes.server.protocol import protocol_class
from compactor_runtimes.server.routes import build_routes
from compactor_runtimes.server.service import Service
from compactor_runtimes.server.settings import Bounds

if TYPE_CHECKING:
    from uvicorn import Server

_log = logging.getLogger("compactor.server")


def run(
    service: Service,
    metrics: Metrics,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    bounds: Bounds | None = None,
    tokens: Sequence[bytes] = (),
) -> None:
    """Serve until SIGTERM or SIGINT; what has begun is answered within `bounds.drain_seconds`.

    Args:
        service: not started yet.
        metrics: what is counted.
        host: address to listen at.
        port: 0 takes a free one, which is logged.
        bounds: what a connection may take; None takes the defaults.
        tokens: see `Guard`.

    Raises:
        UnfitEnvironmentError: the address cannot be listened at.
        MissingDependency: an extra is not installed.
        CompactorError: a bundle cannot be loaded, or its golden cases do not pass.
    """
    bounds = Bounds() if bounds is None else bounds
    server = make_server(service, metrics, bounds, tokens)
    with listening(host, port) as bound:
        place = bound.getsockname()
        _log.info("listening", extra={"host": place[0], "port": place[1], "models": service.names})
        if not tokens and not place[0].startswith("127."):
            _log.warning("anybody who reaches this address may ask; --token-file makes it ask for a token")

        def stop() -> None:
            server.should_exit = True

        service.start(stop)
        server.run(sockets=[bound])
    drained = service.close(bounds.drain_seconds)
    _log.info("closed", extra={"drained": drained})
    if service.failure is not None:
        raise service.failure


def make_server(service: Service, metrics: Metrics, bounds: Bounds, tokens: Sequence[bytes] = ()) -> "Server":
    """Make uvicorn's server around all layers.

    Raises:
        MissingDependency: an extra is not installed.
    """
    with needs_extra("serve"):
        import uvicorn

    class Graceful(uvicorn.Server):
        """Ends with exit code 0 when it is told to; a second signal does not wait."""

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            self.force_exit = self.should_exit
            self.should_exit = True

    metrics.watch_ready(lambda: service.ready)
    routes = build_routes(service, metrics, answer_seconds=bounds.answer_seconds)
    app = Observed(Guard(routes, bounds, tokens), metrics)
    config = uvicorn.Config(
        app,
        http=protocol_class(bounds),
        ws="none",
        loop="asyncio",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        h11_max_incomplete_event_size=bounds.head_bytes,
        timeout_graceful_shutdown=max(1, round(bounds.drain_seconds)),
    )
    return Graceful(config)


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens; a context manager that closes it.

    Raises:
        UnfitEnvironmentError: the address is taken, or not ours.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # with its protocol's number: asyncio sends small parts at once only where it sees that it is TCP
        bound = socket.socket(family, kind, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
            bound.listen(256)
        except OSError:
            bound.close()
            raise
    except OSError as error:
        raise UnfitEnvironmentError(
            f"{host}:{port}: cannot be listened at ({error.strerror or error}); give another --host or --port"
        ) from error
    return bound
