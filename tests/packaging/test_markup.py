"""No text goes through rich's markup: one maker of consoles, and of rich only what leaves text as it is."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.packaging.sources import tree_of

ROOT = Path(__file__).parents[2]
MAKER = ROOT / "compactor" / "cli" / "__init__.py"  # plain_console
PLAIN = {"markup": False, "emoji": False, "highlight": False}
# of rich, what prints a str as it is on a plain console; Prompt, Spinner or Status would read it as markup
KNOWN = {
    "rich": {"box"},
    "rich.console": {"Console", "Group", "RenderableType"},
    "rich.padding": {"Padding"},
    "rich.progress": {
        "BarColumn",
        "MofNCompleteColumn",
        "Progress",
        "TaskID",
        "TextColumn",
        "TimeRemainingColumn",
    },
    "rich.table": {"Table"},
    "rich.text": {"Text"},
}


def files() -> Iterator[tuple[Path, ast.Module]]:
    for folder in ("compactor", "exporters", "runtimes"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path, tree_of(path)


def calls(tree: ast.Module) -> Iterator[tuple[str, dict[str, object], int]]:
    """Last name of what is called, its constant keywords, and the line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            given = {one.arg: one.value.value for one in node.keywords if isinstance(one.value, ast.Constant)}
            yield name, {key: value for key, value in given.items() if key}, node.lineno


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{one.name}" for one in node.names)


def test_consoles_are_made_in_one_place_and_print_text_as_it_is() -> None:
    made = [(path, given) for path, tree in files() for name, given, _ in calls(tree) if name == "Console"]
    ((path, given),) = made
    assert path == MAKER
    assert {key: given.get(key) for key in PLAIN} == PLAIN


def test_only_those_parts_of_rich_are_used_that_leave_text_as_it_is() -> None:
    known = {f"{module}.{name}" for module, names in KNOWN.items() for name in names}
    used = {name for _, tree in files() for name in imported(tree) if name.split(".")[0] == "rich"}
    assert used <= known


def test_nothing_asks_for_markup() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}"
        for path, tree in files()
        for name, given, line in calls(tree)
        if name == "from_markup"
        or any(given.get(key) is True for key in PLAIN)
        or (name == "TextColumn" and given.get("markup") is not False)
    ]
    assert not wrong
