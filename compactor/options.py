"""Options of what a recipe names (a method, a sampler, a model family): checked by their record, and told."""

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, Struct
from msgspec import inspect as kinds

from compactor_runtimes.errors import UsageError
from compactor_runtimes.tables import nearest

Record = TypeVar("Record", bound=msgspec.Struct)
REQUIRED = "required"
NO_DEFAULT = ("absent", "empty", "its defaults")  # what is said where there is no value to show
ATTRIBUTES = re.compile(r"\n\n?Attributes:\n(.*)", flags=re.S)


@dataclass(frozen=True)
class Key:
    """A key of a record in words: type, default as YAML would have it, what the docstring says of it."""

    name: str
    kind: str
    default: str
    meaning: str = ""


@dataclass(frozen=True)
class Words:
    """How types are written: what stands around a value that is meant literally, and the name of a record."""

    code: Callable[[str], str] = str
    record: Callable[[type[Struct]], str] = lambda record: record.__name__


def checked_options(record: type[Record], options: dict[str, Any], at: str) -> Record:
    """Turn options into their record; `at` says where they were found.

    Raises:
        UsageError: an unknown option or a wrong value.
    """
    known = [item.encode_name for item in msgspec.structs.fields(record)]
    for key in options:
        if key not in known:
            raise UsageError(f"{at}.{key}: unknown option; {nearest(key, known) if known else 'it has none'}")
    try:
        return msgspec.convert(options, record)
    except msgspec.ValidationError as error:
        what, _, where = str(error).replace("`", "").partition(" - at $")
        raise UsageError(f"{at}{where}: {what}") from error


def prose_of(record: type[Struct]) -> str:
    """A record's docstring without its `Attributes:`."""
    return ATTRIBUTES.sub("", inspect.cleandoc(record.__doc__ or ""))


def keys_of(record: type[Struct], words: Words | None = None) -> list[Key]:
    """Every key of a record in words."""
    told = dict(_attributes(inspect.cleandoc(record.__doc__ or "")))
    return [
        Key(
            item.encode_name,
            kind_of(kinds.type_info(item.type), words or Words()),
            default_of(item),
            " ".join(told.get(item.encode_name, "").split()),
        )
        for item in msgspec.structs.fields(record)
    ]


def reached(root: type[Struct]) -> dict[type[Struct], list[str]]:
    """Every record that `root` leads to, itself first, and by which keys."""
    found: dict[type[Struct], list[str]] = {root: []}
    queue: list[tuple[type[Struct], str]] = [(root, "")]
    while queue:
        record, path = queue.pop(0)
        for item in msgspec.structs.fields(record):
            for inner, steps in _structs(kinds.type_info(item.type)):
                here = f"{path}.{item.encode_name}{steps}".removeprefix(".")
                if inner not in found:
                    queue.append((inner, here))
                found.setdefault(inner, []).append(here)
    return found


def inner_records(record: type[Struct]) -> list[type[Struct]]:
    """The records inside another one."""
    return [one for one in reached(record) if one is not record]


def kind_of(kind: kinds.Type, words: Words) -> str:
    """A type in words."""
    if isinstance(kind, kinds.StructType):
        return words.record(kind.cls)
    match kind:
        case kinds.UnionType():
            return " or ".join(kind_of(one, words) for one in kind.types if not _is_nothing(one))
        case kinds.ListType() | kinds.VarTupleType():
            return f"list of {kind_of(kind.item_type, words)}"
        case kinds.TupleType():
            return "[" + ", ".join(kind_of(one, words) for one in kind.item_types) + "]"
        case kinds.DictType():
            return f"map of {kind_of(kind.key_type, words)} to {kind_of(kind.value_type, words)}"
        case kinds.Metadata():
            return kind_of(kind.type, words)
    return _plain(kind, words)


def default_of(item: Any) -> str:
    """A field's default as YAML would have it, or one of REQUIRED and NO_DEFAULT."""
    value = item.default
    if item.default_factory is not msgspec.NODEFAULT:
        value = item.default_factory()
    if value is msgspec.NODEFAULT:
        return REQUIRED
    if value is None or value is UNSET:
        return "absent"
    if isinstance(value, Struct):
        return "its defaults"
    if isinstance(value, list):
        value = [_changed(one) if isinstance(one, Struct) else one for one in value]
    if isinstance(value, tuple):
        value = [round(one, 3) for one in value]
    text = msgspec.json.encode(msgspec.to_builtins(value)).decode().replace('"', "")
    return text.replace(",", ", ").replace(":", ": ") if text else "empty"


def _structs(kind: kinds.Type, steps: str = "") -> Iterator[tuple[type[Struct], str]]:
    """The records that a type holds, and what leads there: `[]` of a list, `.KEY` of a map."""
    match kind:
        case kinds.StructType():
            yield kind.cls, steps
        case kinds.UnionType():
            for one in kind.types:
                yield from _structs(one, steps)
        case kinds.ListType():
            yield from _structs(kind.item_type, steps + "[]")
        case kinds.DictType():
            yield from _structs(kind.value_type, steps + ".KEY")
        case kinds.Metadata():
            yield from _structs(kind.type, steps)


def _attributes(doc: str) -> Iterator[tuple[str, str]]:
    """The entries of a docstring's `Attributes:`."""
    found = ATTRIBUTES.search(doc)
    for entry in re.split(r"\n(?=    \w+: )", "\n" + found[1]) if found else []:
        name, colon, text = entry.strip().partition(": ")
        if colon:
            yield name, text


def _plain(kind: kinds.Type, words: Words) -> str:
    """A type that holds no other."""
    match kind:
        case kinds.LiteralType():
            return ", ".join(words.code(str(value)) for value in kind.values)
        case kinds.BoolType():
            return f"{words.code('true')}, {words.code('false')}"
        case kinds.IntType() | kinds.FloatType():
            return ("integer" if isinstance(kind, kinds.IntType) else "number") + _bounds(kind)
        case kinds.StrType():
            return "text"
    return "anything"


def _is_nothing(kind: kinds.Type) -> bool:
    """Whether a member of a union only says that the key may be absent."""
    return type(kind).__name__ in ("NoneType", "UnsetType")


def _bounds(kind: Any) -> str:
    """The bounds of a number: ` >= 1, <= 8192`."""
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    found = [
        f"{sign} {getattr(kind, name):g}" for name, sign in signs.items() if getattr(kind, name) is not None
    ]
    return " " + ", ".join(found) if found else ""


def _changed(record: Struct) -> dict[str, Any]:
    """The keys of a record that differ from their defaults."""
    fields = msgspec.structs.fields(record)
    return {
        one.encode_name: getattr(record, one.name)
        for one in fields
        if getattr(record, one.name) != one.default and one.default_factory is msgspec.NODEFAULT
    }
