"""The friendly way to ask: JSON, a text, an image, or files of a form, and answers as plain data."""

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from compactor_runtimes.errors import InputError, UsageError, one_line
from compactor_runtimes.server.endpoints import RawEndpoint
from compactor_runtimes.server.failures import Refusal

if TYPE_CHECKING:
    from fastapi import Request

_MOST_PARTS = 1000


class _Asked(Struct):
    """The JSON of a request."""

    inputs: str | list[str]


async def predict(request: "Request", endpoint: RawEndpoint, seconds: float) -> bytes:
    """Answer one request.

    Returns:
        JSON: `answers` has an entry for each input, with `error` where it cannot be used.

    Raises:
        UsageError: no input, or a single one that cannot be used.
        Refusal: a content type that is not read here.
        CompactorError: see `Batcher.answer`.
    """
    given = await _given(request, endpoint)
    raws: list[Any] = []
    refused: dict[int, str] = {}
    for place, one in enumerate(given):
        try:
            raws.append(endpoint.raw(one, place))
        except InputError as error:
            refused[place] = error.reason
    found = iter(await endpoint.batcher.answer_all(raws, seconds) if raws else [])
    answers: list[dict[str, Any]] = []
    for place in range(len(given)):
        answer = InputError(place, refused[place]) if place in refused else next(found)
        if not isinstance(answer, InputError):
            answers.append(answer.to_dict())
        elif len(given) == 1:
            raise UsageError(answer.reason)
        else:
            answers.append({"error": answer.reason})
    return msgspec.json.encode({"answers": answers})


async def _given(request: "Request", endpoint: RawEndpoint) -> list[str | bytes]:
    """The inputs of a request, as strings of JSON or as bytes."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    takes = endpoint.model.takes
    if kind == "application/json":
        return _of_json(await request.body())
    if kind == "multipart/form-data":
        return await _of_form(request)
    if (takes == "text" and kind == "text/plain") or (takes == "image" and kind.startswith("image/")):
        return [await request.body()]
    own = "text/plain" if takes == "text" else "image/*"
    raise Refusal(
        415, f"content-type: {kind[:60]!r} found, application/json, {own} or multipart/form-data expected"
    )


def _of_json(body: bytes) -> list[str | bytes]:
    try:
        inputs = msgspec.json.decode(body, type=_Asked).inputs
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise UsageError(
            f'body: cannot be read ({one_line(error)}); send {{"inputs": "..."}} or a list of strings'
        ) from error
    if not inputs and isinstance(inputs, list):
        raise UsageError("inputs: none found, at least one expected")
    return [inputs] if isinstance(inputs, str) else list(inputs)


async def _of_form(request: "Request") -> list[str | bytes]:
    """The files of a form, in order; their names are not looked at."""
    from starlette.exceptions import HTTPException
    from starlette.formparsers import MultiPartException

    try:
        async with request.form(max_files=_MOST_PARTS, max_fields=_MOST_PARTS) as form:
            parts = [value for _, value in form.multi_items()]
            files = [await one.read() for one in parts if not isinstance(one, str)]
    except HTTPException as error:
        raise UsageError(f"form: cannot be read ({error.detail}); send multipart/form-data") from error
    except (MultiPartException, ValueError, KeyError) as error:
        raise UsageError(f"form: cannot be read ({one_line(error)}); send multipart/form-data") from error
    if not files or len(files) != len(parts):
        raise UsageError(f"form: {len(files)} files in {len(parts)} parts found, files alone expected")
    return list(files)
