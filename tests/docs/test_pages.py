"""The pages as a whole: they build, name everything that a user can name, and quote figures that exist."""

import importlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from compactor.cli import COMMANDS
from compactor.data.datasets import DATASETS
from compactor.launch import LAUNCHERS
from compactor.methods import METHODS
from compactor.mixers import MIXERS
from compactor.models import FAMILIES
from compactor.recipe.load import recipe_names, schema
from compactor.samplers import SAMPLERS
from compactor.targets import TARGETS
from compactor.tasks import TASKS
from compactor_exporters import EXPORTERS
from compactor_exporters.deploy import TARGETS as DEPLOY_TARGETS
from compactor_runtimes.backends import RUNTIMES
from tests.conftest import ROOT
from tests.docs.commands import pages

README = ROOT / "README.md"
DOCS = ROOT / "docs"
FIGURE = re.compile(r"<!-- figure:(\w+)\.(\w+) -->(.*?)<!-- /figure -->")
TABLE = re.compile(r"<!-- results:(\w+)(:runs)?((?: \w+)*) -->\n(.*?)<!-- /results -->", flags=re.S)
ANY_MARK = re.compile(r"<!-- (/?)(figure|results)\b")
SOURCES = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in pages()}
EVERYTHING = "\n".join(SOURCES.values())


def pyproject() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def figures(suite: str) -> dict:
    return json.loads((ROOT / "benchmarks" / "results" / f"{suite}.json").read_text(encoding="utf-8"))[
        "figures"
    ]


def test_the_readme_is_short_enough_to_be_read() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150


def test_there_is_documentation() -> None:
    assert len([page for page in pages() if DOCS in page.parents]) >= 15


@pytest.mark.parametrize("page", [*SOURCES, "CHANGELOG.md"])
def test_no_path_of_a_machine_and_nothing_left_to_do(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert not re.search(r"/(home|root|work|tmp)/", text)
    assert "TODO" not in text


@pytest.mark.parametrize(
    "table",
    [
        METHODS,
        TASKS,
        RUNTIMES,
        EXPORTERS,
        SAMPLERS,
        TARGETS,
        MIXERS,
        FAMILIES,
        DATASETS,
        DEPLOY_TARGETS,
        LAUNCHERS,
    ],
    ids=lambda table: next(iter(table)),
)
def test_every_entry_of_every_table_is_told_of(table: dict) -> None:
    missing = [name for name in table if not re.search(rf"`{re.escape(name)}[`:]", EVERYTHING)]
    assert missing == []


def test_every_shipped_recipe_is_told_of() -> None:
    assert [name for name in recipe_names() if f"`{name}`" not in EVERYTHING] == []


def test_every_method_has_a_page_in_the_navigation_and_a_row() -> None:
    sys.path.insert(0, str(DOCS / "extensions"))
    try:
        table = importlib.import_module("generated").method_table()
    finally:
        sys.path.remove(str(DOCS / "extensions"))
    assert "<!-- generated:method-table -->" in SOURCES["docs/methods/index.md"].splitlines()
    found = dict(re.findall(r"^\| \[`([\w-]+)`\]\(([\w-]+\.md)\) \| \w", table, flags=re.M))
    assert list(found) == list(METHODS)
    for name, page in found.items():
        assert (DOCS / "methods" / page).is_file(), name
        assert f"`{name}`" in SOURCES[f"docs/methods/{page}"], name
        assert f"methods/{page.removesuffix('.md')}\n" in SOURCES["docs/index.md"], name


def test_every_extra_is_told_of() -> None:
    told = (DOCS / "start" / "first-run.md").read_text(encoding="utf-8")
    assert [name for name in pyproject()["project"]["optional-dependencies"] if f"`{name}`" not in told] == []


@pytest.mark.parametrize("page", SOURCES)
def test_quoted_figures_exist_and_are_well_formed(page: str) -> None:
    text = SOURCES[page]
    for suite, name, _ in FIGURE.findall(text):
        assert name in figures(suite), f"{suite}.{name}"
    for suite, _, names, _ in TABLE.findall(text):
        assert set(names.split()) <= set(figures(suite)), f"{suite}: {names}"
    whole = 2 * len(FIGURE.findall(text)) + 2 * len(TABLE.findall(text))
    assert len(ANY_MARK.findall(text)) == whole, "a mark without its end, or not on one line"


@pytest.mark.parametrize("page", SOURCES)
def test_no_line_begins_with_an_inline_mark(page: str) -> None:
    """Markdown would take the whole line for HTML."""
    assert not re.search(r"^\s*<!-- /?figure", SOURCES[page], flags=re.M)


@pytest.mark.parametrize("page", SOURCES)
def test_no_measured_number_is_typed(page: str) -> None:
    """Outside marks and code: `make results` could not keep it true."""
    text = re.sub(r"^```.*?^```|`[^`]*`", "", SOURCES[page], flags=re.M | re.S)
    text = re.sub(r"<!-- (figure|results):.*?<!-- /\1s? -->", "", text, flags=re.S)
    typed = re.findall(r"\d ?(?:points|times (?:as|smaller|faster)|MB|ms|µs|us|s|\w+/s)\b.*", text)
    assert not typed, f"{page}: quote a figure between marks instead"


def test_every_make_target_that_is_named_is_there() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M))
    named = set(re.findall(r"\bmake ([a-z][a-z-]+)\b(?=[`\n ]*(?:[`#\n]|$))", EVERYTHING))
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    named |= set(re.findall(r"run: make ([a-z-]+)", workflow))
    assert {"test", "demo", "results-check"} <= named
    assert named <= targets


def test_the_picture_of_the_floors_is_that_of_the_linter() -> None:
    contracts = pyproject()["tool"]["importlinter"]["contracts"]
    floors = next(one for one in contracts if one["name"] == "floors of compactor")["layers"]
    expected = [
        [name.strip().removeprefix("compactor.") for name in re.split(r"[|:]", row)] for row in floors
    ]
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    drawn = [
        re.split(r"\s{2,}| : ", row.strip())
        for row in re.findall(r"^\| (.+?)\s*\|$", text.split("## Floors")[1].split("## ")[0], flags=re.M)
    ]
    assert drawn == expected


def test_ci_runs_the_versions_that_are_claimed() -> None:
    claimed = [
        one.rpartition(" ")[2]
        for one in pyproject()["project"]["classifiers"]
        if re.search(r"Python :: 3\.\d+$", one)
    ]
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))["jobs"]
    assert jobs["test"]["strategy"]["matrix"]["python"] == claimed
    steps = [step["run"].split("#")[0].strip() for step in jobs["test"]["steps"] if "run" in step]
    assert steps == ["make test", "make test-heavy"]


def test_the_hooks_are_the_checks_of_make_test() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0][
        "hooks"
    ]
    assert [hook["entry"].split()[0] for hook in hooks] == ["ruff", "ruff", "mypy", "lint-imports"]


def test_the_changelog_knows_the_version() -> None:
    from compactor.version import VERSION

    assert f"## {VERSION}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.heavy
def test_the_documentation_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("sphinx", reason="needs the docs extra")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-n",
        "-E",
        str(DOCS),
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for page in tmp_path.rglob("*.html"):
        loaded = re.findall(
            r"<(?:script|img|iframe)[^>]*src=\"(https?:[^\"]+)", page.read_text(encoding="utf-8")
        )
        loaded += re.findall(r"<link[^>]*href=\"(https?:[^\"]+)", page.read_text(encoding="utf-8"))
        assert loaded == [], page.name
    assert not any("url(http" in sheet.read_text(encoding="utf-8") for sheet in tmp_path.rglob("*.css"))
    recipe = (tmp_path / "reference" / "recipe.html").read_text(encoding="utf-8")
    keys = {key for part in [schema(), *schema()["$defs"].values()] for key in part.get("properties", {})}
    assert [key for key in sorted(keys) if f">{key}<" not in recipe] == []
    commands = (tmp_path / "reference" / "cli.html").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f'id="compactor-{name}"' not in commands] == []
