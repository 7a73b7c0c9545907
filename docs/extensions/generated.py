"""Fill `<!-- generated:NAME -->` of a page from the records of the source, whenever the pages are built.

Each name of GENERATED is a function that returns Markdown. Nothing of it is kept in the repository, so that
it cannot differ from the source.
"""

import inspect
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click
from msgspec import Struct
from sphinx.application import Sphinx

from compactor.methods import METHODS
from compactor.methods.table import method_rows
from compactor.mixers import MIXERS
from compactor.models.encoder import Options as EncoderOptions
from compactor.options import NO_DEFAULT, REQUIRED, Words, inner_records, keys_of, prose_of, reached
from compactor.recipe.spec import Recipe
from compactor.records import Training
from compactor.samplers import SAMPLERS
from compactor_runtimes import errors
from compactor_runtimes.bundle.manifest import GoldenCase, Manifest
from compactor_runtimes.tables import lookup

MARK = re.compile(r"^<!-- generated:([\w-]+) -->$", flags=re.M)
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


def method_table() -> str:
    """All methods, one line each, as `compactor methods` has them."""
    lines = ["| method | what it does | labels | teachers | unlabelled data | extra cost | source |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for row in method_rows():
        cells = [row.does, row.labels, row.teachers, row.unlabelled, row.cost, row.source]
        lines.append(f"| [`{row.name}`]({row.page}) | {' | '.join(map(cell, cells))} |")
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
    "method-table": method_table,
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


def body(record: Record, prefix: str) -> list[str]:
    """A record's docstring and the table of its keys; a record inside is a link to its section."""
    prose = [prose_of(record)]
    if issubclass(record, Training) and record is not Training:
        prose.append(inspect.cleandoc(Training.__doc__ or ""))
    lines = ["\n\n".join(prose), ""]
    keys = keys_of(record, Words(code=lambda value: f"`{value}`", record=partial(linked, prefix)))
    if not keys:
        return [*lines, "It has no options."]
    told = any(key.meaning for key in keys)
    lines += ["| key | type | default |" + (" meaning |" if told else "")]
    lines += ["|---|---|---|" + ("---|" if told else "")]
    for key in keys:
        kind = key.kind.replace("<", "\\<").replace(">", "\\>")
        row = f"| `{key.name}` | {kind} | {default(key.default)} |"
        lines.append(row + (f" {cell(key.meaning)} |" if told else ""))
    return lines


def linked(prefix: str, record: Record) -> str:
    """A record's name, as a link to its section where the page has one."""
    title = record.__name__.removesuffix("Spec")
    return f"[{title}](#{prefix}-{record.__name__.lower()})" if prefix else title


def default(text: str) -> str:
    """A default of `keys_of` in Markdown."""
    return "**required**" if text == REQUIRED else text if text in NO_DEFAULT else f"`{text}`"


def cell(text: str) -> str:
    """Text that fits a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")
