"""Fill `<!-- generated:NAME -->` of a page from the records of the source, whenever the pages are built.

Each name of GENERATED is a function that returns Markdown. Nothing of it is kept in the repository, so that
it cannot differ from the source.
"""

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
from msgspec import UNSET, Struct
from msgspec import inspect as kinds
from sphinx.application import Sphinx

from compactor.methods import METHODS
from compactor.mixers import MIXERS
from compactor.models.encoder import Options as EncoderOptions
from compactor.recipe.spec import Recipe
from compactor.records import Training
from compactor.samplers import SAMPLERS
from compactor_runtimes import errors
from compactor_runtimes.bundle.manifest import GoldenCase, Manifest
from compactor_runtimes.tables import lookup

MARK = re.compile(r"^<!-- generated:([\w-]+) -->$", flags=re.M)
ATTRIBUTES = re.compile(r"\n\n?Attributes:\n(.*)", flags=re.S)
Record = type[Struct]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("source-read", fill)
    app.connect("sphinx-click-process-description", as_typed)
    app.connect("sphinx-click-process-options", plain_paths)
    return {"version": "1", "parallel_read_safe": True}


def fill(app: Sphinx, page: str, source: list[str]) -> None:
    """Replace every mark of a page."""
    source[0] = MARK.sub(lambda mark: GENERATED[mark[1]](), source[0])


def as_typed(app: Sphinx, context: click.Context, lines: list[str]) -> None:
    """Help is plain text: show its examples as code, and what stands in backticks too."""
    shown: list[str] = []
    for line in lines:
        if not line.startswith("| "):
            shown.append(re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", line).replace("*", r"\*"))
            continue
        if not shown or not shown[-1].startswith("   "):
            shown += ["", ".. code-block:: text", ""]
        shown.append("   " + line.removeprefix("| "))
    lines[:] = shown


def plain_paths(app: Sphinx, context: click.Context, lines: list[str]) -> None:
    """The default of a path is the path."""
    lines[:] = [re.sub(r"PosixPath\('(.*?)'\)", r"\1", line) for line in lines]


def results_pages() -> str:
    """The pages that `make results` writes, the overview first."""
    folder = Path(__file__).parents[1] / "results"
    others = sorted(page.stem for page in folder.glob("*.md") if page.stem != "index")
    return "\n".join(f"results/{name}" for name in ["index", *others])


def recipe_keys() -> str:
    """Every key of a recipe: its records, from the whole to its parts."""
    return "\n".join(records(Recipe, "recipe"))


def manifest_keys() -> str:
    """Every key of a bundle's manifest and of a golden case."""
    return "\n".join([*records(Manifest, "manifest"), *records(GoldenCase, "golden-case")])


def method_options() -> str:
    """The options of every method."""
    lines: list[str] = []
    for name in METHODS:
        record = lookup(METHODS, name, "method").options
        lines += [f"### `method: {name}`", "", *body(record, ""), ""]
        for inner in inner_records(record):
            lines += [f"`{name}`: {inner.__name__}", "", *body(inner, ""), ""]
    return "\n".join(lines)


def sampler_options() -> str:
    """The options of every sampler."""
    lines: list[str] = []
    for name in SAMPLERS:
        record = lookup(SAMPLERS, name, "sampler")
        lines += [f"### `sampler: {name}`", "", *body(record, ""), ""]
    return "\n".join(lines)


def mixer_options() -> str:
    """The options of every mixer."""
    lines: list[str] = []
    for name in MIXERS:
        record = lookup(MIXERS, name, "mixer")
        lines += [f"### `mixer: {name}`", "", *body(record, ""), ""]
    return "\n".join(lines)


def encoder_options() -> str:
    """The options of `encoder:LxD`."""
    return "\n".join(body(EncoderOptions, ""))


def exit_codes() -> str:
    """Exit code, error of the Python API, and meaning."""
    tree = [one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, Exception)]
    lines = ["| code | error in Python | meaning |", "|---|---|---|", "| 0 | | done, and every gate passed |"]
    for one in sorted(tree, key=lambda one: (one.exit_code, len(one.__mro__))):
        if one is errors.CompactorError:
            lines.append("| 1 | any that is no `CompactorError` | our bug: please report it |")
        else:
            lines.append(f"| {one.exit_code} | `{one.__name__}` | {cell(one.__doc__ or '')} |")
    lines.append("| 141 | | who read the output went away (128 + SIGPIPE) |")
    return "\n".join(lines)


GENERATED: dict[str, Callable[[], str]] = {
    "recipe": recipe_keys,
    "methods": method_options,
    "samplers": sampler_options,
    "mixers": mixer_options,
    "encoder": encoder_options,
    "manifest": manifest_keys,
    "exit-codes": exit_codes,
    "results": results_pages,
}


def records(root: Record, prefix: str) -> Iterator[str]:
    """One section for each record below `root`, with the keys that lead to it."""
    for record, paths in reached(root).items():
        yield f"({prefix}-{record.__name__.lower()})="
        yield f"### {record.__name__.removesuffix('Spec')}"
        yield ""
        if paths:
            yield "At " + ", ".join(f"`{path}`" for path in paths[:6]) + "."
            yield ""
        yield from body(record, prefix)
        yield ""


def reached(root: Record) -> dict[Record, list[str]]:
    """Every record that `root` leads to, itself first, and by which keys."""
    found: dict[Record, list[str]] = {root: []}
    queue: list[tuple[Record, str]] = [(root, "")]
    while queue:
        record, path = queue.pop(0)
        for item in msgspec.structs.fields(record):
            for inner, steps in structs(kinds.type_info(item.type)):
                here = f"{path}.{item.encode_name}{steps}".removeprefix(".")
                if inner not in found:
                    queue.append((inner, here))
                found.setdefault(inner, []).append(here)
    return found


def inner_records(record: Record) -> list[Record]:
    """The records inside a method's options."""
    return [one for one in reached(record) if one is not record]


def structs(kind: kinds.Type, steps: str = "") -> Iterator[tuple[Record, str]]:
    """The records that a type holds, and what leads there: `[]` of a list, `.KEY` of a map."""
    match kind:
        case kinds.StructType():
            yield kind.cls, steps
        case kinds.UnionType():
            for one in kind.types:
                yield from structs(one, steps)
        case kinds.ListType():
            yield from structs(kind.item_type, steps + "[]")
        case kinds.DictType():
            yield from structs(kind.value_type, steps + ".KEY")
        case kinds.Metadata():
            yield from structs(kind.type, steps)


def body(record: Record, prefix: str) -> list[str]:
    """A record's docstring and the table of its keys."""
    doc = inspect.cleandoc(record.__doc__ or "")
    told = dict(attributes(doc))
    prose = [ATTRIBUTES.sub("", doc)]
    if issubclass(record, Training) and record is not Training:
        prose.append(inspect.cleandoc(Training.__doc__ or ""))
    fields = msgspec.structs.fields(record)
    lines = ["\n\n".join(prose), ""]
    if not fields:
        return [*lines, "It has no options."]
    lines += ["| key | type | default |" + (" meaning |" if told else "")]
    lines += ["|---|---|---|" + ("---|" if told else "")]
    for item in fields:
        row = f"| `{item.encode_name}` | {shown(kinds.type_info(item.type), prefix)} | {default(item)} |"
        lines.append(row + (f" {cell(told.get(item.encode_name, ''))} |" if told else ""))
    return lines


def attributes(doc: str) -> Iterator[tuple[str, str]]:
    """The entries of a docstring's `Attributes:`."""
    found = ATTRIBUTES.search(doc)
    for entry in re.split(r"\n(?=    \w+: )", "\n" + found[1]) if found else []:
        name, colon, text = entry.strip().partition(": ")
        if colon:
            yield name, text


def shown(kind: kinds.Type, prefix: str) -> str:
    """A type in words; a record is a link to its section where the page has one."""
    if isinstance(kind, kinds.StructType):
        name = kind.cls.__name__
        title = name.removesuffix("Spec")
        return f"[{title}](#{prefix}-{name.lower()})" if prefix else title
    match kind:
        case kinds.UnionType():
            return " or ".join(shown(one, prefix) for one in kind.types if not is_nothing(one))
        case kinds.ListType() | kinds.VarTupleType():
            return f"list of {shown(kind.item_type, prefix)}"
        case kinds.TupleType():
            return "[" + ", ".join(shown(one, prefix) for one in kind.item_types) + "]"
        case kinds.DictType():
            return f"map of {shown(kind.key_type, prefix)} to {shown(kind.value_type, prefix)}"
        case kinds.Metadata():
            return shown(kind.type, prefix)
    return plain(kind)


def plain(kind: kinds.Type) -> str:
    """A type that holds no other."""
    match kind:
        case kinds.LiteralType():
            return ", ".join(f"`{value}`" for value in kind.values)
        case kinds.BoolType():
            return "`true`, `false`"
        case kinds.IntType() | kinds.FloatType():
            return ("integer" if isinstance(kind, kinds.IntType) else "number") + bounds(kind)
        case kinds.StrType():
            return "text"
    return "anything"


def is_nothing(kind: kinds.Type) -> bool:
    """Whether a member of a union only says that the key may be absent."""
    return type(kind).__name__ in ("NoneType", "UnsetType")


def bounds(kind: Any) -> str:
    """The bounds of a number: ` >= 1, <= 8192`."""
    signs = {"gt": "\\>", "ge": "\\>=", "lt": "\\<", "le": "\\<="}
    found = [
        f"{sign} {getattr(kind, name):g}" for name, sign in signs.items() if getattr(kind, name) is not None
    ]
    return " " + ", ".join(found) if found else ""


def default(item: Any) -> str:
    """A field's default as YAML would have it."""
    value = item.default
    if item.default_factory is not msgspec.NODEFAULT:
        value = item.default_factory()
    if value is msgspec.NODEFAULT:
        return "**required**"
    if value is None or value is UNSET:
        return "absent"
    if isinstance(value, Struct):
        return "its defaults"
    if isinstance(value, list):
        value = [changed(one) if isinstance(one, Struct) else one for one in value]
    if isinstance(value, tuple):
        value = [round(one, 3) for one in value]
    text = msgspec.json.encode(msgspec.to_builtins(value)).decode().replace('"', "")
    return f"`{text.replace(',', ', ').replace(':', ': ')}`" if text else "empty"


def changed(record: Struct) -> dict[str, Any]:
    """The keys of a record that differ from their defaults."""
    fields = msgspec.structs.fields(record)
    return {
        one.encode_name: getattr(record, one.name)
        for one in fields
        if getattr(record, one.name) != one.default and one.default_factory is msgspec.NODEFAULT
    }


def cell(text: str) -> str:
    """Text that fits a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")
