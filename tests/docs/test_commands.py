"""What README and docs show works: commands run or parse, snippets run, recipes load."""

import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from msgspec import inspect as kinds

from compactor.cli import cli
from compactor.methods import method_named, parse_options
from compactor.recipe.load import parse_recipe
from compactor.recipe.spec import Recipe
from tests.conftest import ROOT, Finished
from tests.docs.commands import Shown, blocks, commands, counts, docs_commands_tested, words

WHOLE = {"name", "task", "data", "stages"}


def environment() -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    roots = [str(ROOT / part) for part in ("", "exporters", "runtimes")]
    return {**os.environ, "PATH": path, "PYTHONPATH": os.pathsep.join(roots)}


def ran(command: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=300, check=False
    )


WRITES = "compactor init"  # a file that later commands of the page read


@pytest.mark.heavy
def test_commands_run(own_digits_run: Finished) -> None:
    """Page by page, each without the files that another one wrote; what several pages show runs once."""
    seen: set[str] = set()
    for _, page in groupby(commands("bash"), key=lambda shown: shown.page):
        before = set(own_digits_run.cwd.iterdir())
        for shown in page:
            if shown.text in seen and not shown.text.startswith(WRITES):
                continue
            seen.add(shown.text)
            done = ran(["bash", "-c", shown.text], own_digits_run.cwd)
            assert done.returncode == 0, f"{shown}\n{done.stdout[-500:]}{done.stderr[-2000:]}"
        for path in set(own_digits_run.cwd.iterdir()) - before:
            if path.is_file():
                path.unlink()


def test_lines_that_are_not_run_are_of_known_programs() -> None:
    known = ("compactor ", "make ", "pip install ", "torchrun ")
    lines = [line.strip() for block in blocks("bash") for line in block.text.splitlines() if line.strip()]
    assert [line for line in lines if not line.startswith(known)] == []


@pytest.mark.heavy
def test_snippets_run(own_digits_run: Finished) -> None:
    for shown in blocks("python"):
        done = ran([sys.executable, "-c", shown.text], own_digits_run.cwd)
        assert done.returncode == 0, f"{shown}\n{done.stderr[-2000:]}"


@pytest.mark.parametrize("shown", [*commands("bash"), *commands("console")], ids=str)
def test_commands_parse(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        click.Command, "invoke", lambda self, context: None
    )  # what a group resolves is read, not run
    try:
        cli.main(words(shown.text), standalone_mode=False)
    except click.ClickException as error:
        pytest.fail(f"{shown}: {error.format_message()}")


def unknown(value: Any, kind: kinds.Type, path: str = "") -> Iterator[str]:
    """Keys that the records of a recipe do not know."""
    match kind:
        case kinds.Metadata():
            yield from unknown(value, kind.type, path)
        case kinds.UnionType():
            mapping = isinstance(value, dict)
            for one in kind.types:
                if isinstance(one, kinds.StructType | kinds.DictType) == mapping:
                    yield from unknown(value, one, path)
        case kinds.ListType() if isinstance(value, list):
            for one in value:
                yield from unknown(one, kind.item_type, f"{path}[]")
        case kinds.StructType() if isinstance(value, dict):
            fields = {field.encode_name: field for field in kind.fields}
            for key, inner in value.items():
                if key in fields:
                    yield from unknown(inner, fields[key].type, f"{path}.{key}")
                else:
                    yield f"{path}.{key}"


@pytest.mark.parametrize("shown", [*blocks("yaml")], ids=lambda shown: f"{shown.page}:{shown.line}")
def test_recipes_and_their_parts_are_known(shown: Shown) -> None:
    raw = yaml.safe_load(shown.text)
    assert isinstance(raw, dict), shown
    assert list(unknown(raw, kinds.type_info(Recipe))) == [], shown
    for stage in raw.get("stages", []):
        parse_options(method_named(stage["method"], shown.page), stage.get("options", {}), shown.page)
    if raw.keys() >= WHOLE:
        parse_recipe(raw)


def test_something_of_each_kind_is_tested() -> None:
    assert min(counts().values()) > 0
    assert docs_commands_tested() >= 60
