"""What a server is told: where it listens, how it gathers batches, and what one connection may take."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from compactor_runtimes.errors import UsageError
from compactor_runtimes.tables import numbers_from

_SHORTEST_TOKEN = 16


class Bounds(Struct, frozen=True, kw_only=True):
    """What a connection may take of the server; all of it is checked before the model is asked.

    Attributes:
        head_bytes: of a request's line and headers.
        head_seconds: for these to arrive.
        body_bytes: of a request's body.
        body_seconds: for it to arrive.
        bodies_bytes: of all bodies that are held at once.
        answer_seconds: from the last byte of a request to the last of its answer.
        write_seconds: a client may leave an answer unread.
        connections: at once.
        drain_seconds: at the end, for what has begun.
    """

    head_bytes: int = 16 << 10
    head_seconds: float = 10.0
    body_bytes: int = 16 << 20
    body_seconds: float = 30.0
    bodies_bytes: int = 256 << 20
    answer_seconds: float = 30.0
    write_seconds: float = 30.0
    connections: int = 256
    drain_seconds: float = 30.0

    def __post_init__(self) -> None:
        """Check every number once.

        Raises:
            UsageError: one that is not above 0, or no whole number where bytes or connections are counted.
        """
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if not 0 < value < float("inf") or (not name.endswith("_seconds") and value != int(value)):
                raise UsageError(f"bound {name}: got {value!r}, expected a number above 0")


class Gathering(Struct, frozen=True, kw_only=True):
    """How a batch is gathered; see `Batcher`. `max_batch` is never more than the graph takes."""

    max_batch: int = 32
    max_delay_s: float = 0.002
    queue: int = 256


def bounds_from(settings: Sequence[str]) -> Bounds:
    """Read bounds from `name=number` as a command line gives them; `-` in a name may stand for `_`.

    Raises:
        UsageError: no such bound, or no number.
    """
    given: Any = numbers_from(settings, Bounds.__struct_fields__, "bound")
    return Bounds(**given)


def tokens_from(path: Path) -> list[bytes]:
    """Read the tokens of a file, one a line, so that an old and a new one can hold at the same time.

    Raises:
        UsageError: no file, no token in it, or one that is short or holds other than visible ASCII.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); give a file of tokens") from error
    tokens = [line for line in (each.strip() for each in content.splitlines()) if line]
    if not tokens:
        raise UsageError(f"{path}: no token found, one a line expected")
    for number, token in enumerate(tokens, 1):
        if len(token) < _SHORTEST_TOKEN or any(not 33 <= one <= 126 for one in token):
            raise UsageError(
                f"{path}: token {number}: {len(token)} characters found, {_SHORTEST_TOKEN} or more of "
                "visible ASCII expected; make one with `openssl rand -hex 32`"
            )
    return tokens
