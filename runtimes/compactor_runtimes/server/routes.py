"""What is answered at which path: the Open Inference Protocol, /predict, /metrics and /openapi.json.

Handlers take the request and answer JSON as it is: no model of pydantic is made on the way.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from compactor_runtimes.errors import needs_extra
from compactor_runtimes.server.endpoints import Endpoint
from compactor_runtimes.server.failures import App, Receive, Refusal, Scope, Send, body_of, refusal_of
from compactor_runtimes.server.inference import HEADER, read_request, write_response
from compactor_runtimes.server.metrics import Metrics
from compactor_runtimes.server.openapi import document
from compactor_runtimes.server.predicting import predict
from compactor_runtimes.server.service import GRAPH, Service
from compactor_runtimes.server.versions import EXTENSIONS, NAME
from compactor_runtimes.version import version

if TYPE_CHECKING:
    from fastapi import Request, Response

    Handle = Callable[[Request], Awaitable["Said"]]
    Answer = Callable[[Request], Awaitable[Response]]

ROUTE = "compactor.route"
"""Where a request's scope holds the template of its path."""

_VERSION = "1"


class Said:
    """What a handler answers with: a body, JSON unless it says another type."""

    def __init__(self, body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Note body, status and headers."""
        self.body, self.status = body, status
        self.headers = {"content-type": "application/json", **({} if headers is None else headers)}


class Handlers:
    """One method a route."""

    def __init__(self, service: Service, metrics: Metrics, answer_seconds: float) -> None:
        """Bind what is asked."""
        self._service, self._metrics, self._seconds = service, metrics, answer_seconds
        self._described = msgspec.json.encode(document())

    async def server(self, request: "Request") -> Said:
        """What serves, and which extensions it knows."""
        return _json({"name": NAME, "version": version(), "extensions": EXTENSIONS})

    async def live(self, request: "Request") -> Said:
        """True as soon as anything is answered."""
        return _json({"live": True})

    async def ready(self, request: "Request") -> Said:
        """200 where the golden cases of all models have passed."""
        ready = self._service.ready
        return _json({"live": True, "ready": ready}, 200 if ready else 503)

    async def metadata(self, request: "Request") -> Said:
        """Tensors of a model."""
        found = self._model(request)
        return _json(
            {
                "name": found.name,
                "versions": [_VERSION],
                "platform": found.platform,
                "inputs": [each.to_metadata() for each in found.takes],
                "outputs": [each.to_metadata() for each in found.gives],
            }
        )

    async def model_ready(self, request: "Request") -> Said:
        """A model that is found is ready."""
        return _json({"name": self._model(request).name, "ready": True})

    async def infer(self, request: "Request") -> Said:
        """Tensors in, tensors out."""
        found, headers = self._model(request), request.headers
        if headers.get("content-encoding", "identity") != "identity":
            raise Refusal(415, "content-encoding: is not read here; send the body as it is")
        asked = read_request(await request.body(), headers.get(HEADER), found.takes, found.gives)
        values = await found.infer(asked.inputs, list(asked.outputs), self._seconds)
        body, more = write_response(found.name, asked, found.gives, values)
        return Said(body, headers=more)

    async def predict(self, request: "Request") -> Said:
        """Inputs in, answers out; without a name where one bundle is served."""
        name = request.path_params.get("model")
        endpoint = self._service.raw(name)
        if endpoint is None:
            raise self._unknown("" if name is None else name)
        return Said(await predict(request, endpoint, self._seconds))

    async def counted(self, request: "Request") -> Said:
        """For Prometheus."""
        return Said(
            self._metrics.text(), headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    async def openapi(self, request: "Request") -> Said:
        """All of this, described."""
        return Said(self._described)

    def _model(self, request: "Request") -> Endpoint:
        name, asked = request.path_params["model"], request.path_params.get("version", _VERSION)
        found = self._service.find(name)
        if found is None:
            raise self._unknown(name)
        if asked != _VERSION:
            raise Refusal(404, f"version {asked[:20]!r}: is not served, {_VERSION!r} or none expected")
        return found

    def _unknown(self, name: str) -> Refusal:
        return Refusal(404, f"model {name[:100]!r}: is not served, one of {self._service.names} expected")


_PATHS = (
    ("/v2", "GET", Handlers.server),
    ("/v2/health/live", "GET", Handlers.live),
    ("/v2/health/ready", "GET", Handlers.ready),
    ("/v2/models/{model}", "GET", Handlers.metadata),
    ("/v2/models/{model}/ready", "GET", Handlers.model_ready),
    ("/v2/models/{model}/infer", "POST", Handlers.infer),
    ("/v2/models/{model}/versions/{version}", "GET", Handlers.metadata),
    ("/v2/models/{model}/versions/{version}/ready", "GET", Handlers.model_ready),
    ("/v2/models/{model}/versions/{version}/infer", "POST", Handlers.infer),
    ("/predict", "POST", Handlers.predict),
    ("/models/{model}/predict", "POST", Handlers.predict),
    ("/metrics", "GET", Handlers.counted),
    ("/openapi.json", "GET", Handlers.openapi),
)


def build_routes(service: Service, metrics: Metrics, *, answer_seconds: float) -> App:
    """Make the application: what models are asked is looked up by its path, the rest is FastAPI's.

    Args:
        service: whose models are asked.
        metrics: what is counted.
        answer_seconds: what an input may wait for its turn.

    Raises:
        MissingDependency: fastapi is not installed.
    """
    with needs_extra("serve"):
        from fastapi import FastAPI, Request, Response

    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    handlers = Handlers(service, metrics, answer_seconds)

    async def said_of(path: str, handle: "Handle", request: "Request") -> Said:
        request.scope[ROUTE] = path
        try:
            return await handle(request)
        except Exception as error:
            return _refused(refusal_of(error))

    async def answer(path: str, handle: "Handle", request: "Request") -> Response:
        said = await said_of(path, handle, request)
        return Response(said.body, said.status, said.headers)

    for path, method, handle in _PATHS:
        app.add_route(path, _named(partial(answer, path, partial(handle, handlers))), [method])

    async def refuse(request: "Request", error: Exception) -> Response:
        status = getattr(error, "status_code", 404)
        allowed = dict(getattr(error, "headers", None) or {})
        what = "path: nothing is served there" if status == 404 else "method: is not answered at this path"
        said = _refused(Refusal(status, f"{what}; see /openapi.json", allowed))
        return Response(said.body, said.status, said.headers)

    app.add_exception_handler(404, refuse)
    app.add_exception_handler(405, refuse)
    direct = _direct(service.names, handlers)

    async def routed(scope: Scope, receive: Receive, send: Send) -> None:
        found = direct.get(scope["path"]) if scope["method"] == "POST" else None
        if found is None:
            await app(scope, receive, send)
            return
        path, handle, scope["path_params"] = found
        await _send(send, await said_of(path, handle, Request(scope, receive)))

    return routed


def _direct(names: Sequence[str], handlers: Handlers) -> "dict[str, tuple[str, Handle, dict[str, str]]]":
    """What is posted, by whole paths of the models that are served: template, handler and its parameters."""
    found: dict[str, tuple[str, Handle, dict[str, str]]] = {}
    for path, method, handle in _PATHS:
        for name in (*names, *(each + GRAPH for each in names)):
            own = {"model": name, "version": _VERSION}
            params = {key: value for key, value in own.items() if f"{{{key}}}" in path}
            if method == "POST":
                found[path.format_map(own)] = path, partial(handle, handlers), params
    return found


async def _send(send: Send, said: Said) -> None:
    """Send an answer as FastAPI would."""
    headers = [(name.lower().encode(), value.encode()) for name, value in said.headers.items()]
    headers.append((b"content-length", b"%d" % len(said.body)))
    await send({"type": "http.response.start", "status": said.status, "headers": headers})
    await send({"type": "http.response.body", "body": said.body})


def _named(handle: "Answer") -> "Answer":
    """A function of its own, as routes want it."""

    async def handler(request: "Request") -> "Response":
        return await handle(request)

    return handler


def _json(value: Any, status: int = 200) -> Said:
    return Said(msgspec.json.encode(value), status)


def _refused(refusal: Refusal) -> Said:
    return Said(body_of(refusal), refusal.status, refusal.headers)
