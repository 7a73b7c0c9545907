"""The OpenAPI description of the routes, written by hand: handlers read raw requests, and it must be true."""

from typing import Any

from compactor_runtimes.server.versions import NAME
from compactor_runtimes.version import version

_JSON = "application/json"
_TEXT = {"type": "string"}
_TENSOR_META = {
    "type": "object",
    "properties": {
        "name": _TEXT,
        "datatype": _TEXT,
        "shape": {"type": "array", "items": {"type": "integer"}},
    },
    "required": ["name", "datatype", "shape"],
}


def document() -> dict[str, Any]:
    """The description."""
    paths: dict[str, Any] = {
        "/v2": {"get": _operation("Describe the server", _object("name", "version", "extensions"))},
        "/v2/health/live": {"get": _operation("Whether it lives", _object("live"), token=False)},
        "/v2/health/ready": {
            "get": _operation("Whether all models are ready", _object("live", "ready"), token=False)
        },
        "/predict": {"post": _predict([])},
        "/models/{model}/predict": {"post": _predict(["model"])},
        "/metrics": {"get": _operation("Metrics for Prometheus", _TEXT, kind="text/plain")},
        "/openapi.json": {"get": _operation("This description", {"type": "object"})},
    }
    for path, names in (
        ("/v2/models/{model}", ["model"]),
        ("/v2/models/{model}/versions/{version}", ["model", "version"]),
    ):
        described = _object("name", "versions", "platform", "inputs", "outputs")
        paths[path] = {"get": _operation("Describe a model", described, names)}
        paths[f"{path}/ready"] = {"get": _operation("Whether it is ready", _object("name", "ready"), names)}
        paths[f"{path}/infer"] = {"post": _infer(names)}
    return {
        "openapi": "3.1.0",
        "info": {"title": NAME, "version": version()},
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Error": {"type": "object", "properties": {"error": _TEXT}, "required": ["error"]},
                "Tensor": _TENSOR_META,
            },
        },
    }


def _object(*names: str) -> dict[str, Any]:
    kinds: dict[str, Any] = {
        "live": {"type": "boolean"},
        "ready": {"type": "boolean"},
        "extensions": {"type": "array", "items": _TEXT},
        "versions": {"type": "array", "items": _TEXT},
        "inputs": {"type": "array", "items": {"$ref": "#/components/schemas/Tensor"}},
        "outputs": {"type": "array", "items": {"$ref": "#/components/schemas/Tensor"}},
    }
    properties = {name: kinds.get(name, _TEXT) for name in names}
    return {"type": "object", "properties": properties, "required": list(names)}


def _operation(
    summary: str,
    schema: dict[str, Any],
    names: list[str] | None = None,
    *,
    kind: str = _JSON,
    token: bool = True,
) -> dict[str, Any]:
    """One operation; whatever goes wrong is an Error."""
    error = {"description": "Error", "content": {_JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}}
    responses = {"200": {"description": "OK", "content": {kind: {"schema": schema}}}}
    if summary == "Whether all models are ready":
        responses["503"] = responses["200"]
    found: dict[str, Any] = {"summary": summary, "responses": {**responses, "default": error}}
    if names:
        found["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
            for name in names
        ]
    if token:
        found["security"] = [{}, {"token": []}]
    return found


def _predict(names: list[str]) -> dict[str, Any]:
    answers = {
        "type": "object",
        "properties": {"answers": {"type": "array", "items": {"type": "object"}, "minItems": 1}},
        "required": ["answers"],
    }
    found = _operation("Answer for texts or images", answers, names)
    inputs = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1}]}
    files = {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1}
    found["requestBody"] = {
        "required": True,
        "content": {
            _JSON: {"schema": {"type": "object", "properties": {"inputs": inputs}, "required": ["inputs"]}},
            "text/plain": {"schema": _TEXT},
            "image/*": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {"inputs": files}, "required": ["inputs"]}
            },
        },
    }
    return found


def _infer(names: list[str]) -> dict[str, Any]:
    tensor = {
        "type": "object",
        "properties": {
            **_TENSOR_META["properties"],  # type: ignore[dict-item]
            "parameters": {"type": "object"},
            "data": {"type": "array"},
        },
        "required": _TENSOR_META["required"],
    }
    request = {
        "type": "object",
        "properties": {
            "id": _TEXT,
            "parameters": {"type": "object"},
            "inputs": {"type": "array", "items": tensor, "minItems": 1},
            "outputs": {
                "type": "array",
                "items": {"type": "object", "properties": {"name": _TEXT}, "required": ["name"]},
            },
        },
        "required": ["inputs"],
    }
    response = {
        "type": "object",
        "properties": {"model_name": _TEXT, "id": _TEXT, "outputs": {"type": "array", "items": tensor}},
        "required": ["model_name", "outputs"],
    }
    found = _operation("Infer", response, names)
    found["responses"]["200"]["content"]["application/octet-stream"] = {"schema": {}}
    found["requestBody"] = {
        "required": True,
        "content": {_JSON: {"schema": request}, "application/octet-stream": {"schema": {}}},
    }
    return found
