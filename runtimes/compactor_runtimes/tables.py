"""Resolve the names "package.module:attr" that the literal tables of the project hold."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from compactor_runtimes.errors import UsageError


def resolve(target: str) -> Any:
    """Import `package.module:attr` and return the attribute.

    Raises:
        UsageError: `target` has no colon, or the module has no such attribute.
    """
    module_name, colon, attribute = target.partition(":")
    if not colon or not module_name or not attribute:
        raise UsageError(f"{target!r} is not of the form 'package.module:attribute'")
    module = import_module(module_name)
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        raise UsageError(
            f"module {module_name!r} has no attribute {attribute!r} (asked for by {target!r})"
        ) from error


def nearest(name: str, known: Mapping[str, Any] | list[str]) -> str:
    """Say what was probably meant and what is known, for the end of an error message."""
    from difflib import get_close_matches  # only what goes wrong needs it

    names = sorted(known)
    close = get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known: {', '.join(names)}"


def lookup(table: Mapping[str, str], name: str, what: str) -> Any:
    """Resolve entry `name` of a literal table.

    Raises:
        UsageError: no such entry; the message names the nearest one.
    """
    if name not in table:
        raise UsageError(f"unknown {what} {name!r}; {nearest(name, table)}")
    return resolve(table[name])


def numbers_from(settings: Sequence[str], known: Sequence[str], what: str) -> "dict[str, int | float]":
    """Read `name=number` as a command line gives it; `-` in a name may stand for `_`.

    Args:
        settings: as they were written.
        known: names; one that is or ends with `seconds` is a float, all others are whole.
        what: begins the message.

    Raises:
        UsageError: no such name, or no number.
    """
    given: dict[str, int | float] = {}
    for one in settings:
        written, _, value = one.partition("=")
        name = written.replace("-", "_")
        if name not in known:
            raise UsageError(f"{what} {one!r}: {nearest(name, list(known))}")
        try:
            given[name] = float(value) if name.endswith("seconds") else int(value)
        except ValueError as error:
            raise UsageError(f"{what} {one!r}: expected {written}=NUMBER") from error
    return given
