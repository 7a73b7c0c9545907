"""The commands, snippets and recipes that README.md, CONTRIBUTING.md and the pages of docs/ show.

`counts()` says how much the tests here check. A block of `bash` is run line by line, one of `console` is
read: sub-command, options and values must exist. Lines of other programs (make, pip) are for other checks.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^( *)(`{3,})(\w[\w-]*)\n(.*?)^\1\2$", flags=re.M | re.S)
OURS = "compactor "
REDIRECTIONS = ("|", "<", ">", "&&", ";")


@dataclass(frozen=True)
class Shown:
    """One command, snippet or recipe, and where it stands."""

    page: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text}"


def pages() -> list[Path]:
    """Everything that a user reads, but for the generated results."""
    docs = ROOT / "docs"
    written = [page for page in sorted(docs.rglob("*.md")) if docs / "results" not in page.parents]
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *written]


def blocks(language: str) -> Iterator[Shown]:
    """The blocks of a language, on all pages."""
    for page in pages():
        text = page.read_text(encoding="utf-8")
        for found in BLOCK.finditer(text):
            if found[3] == language:
                line = text.count("\n", 0, found.start()) + 2
                yield Shown(page.relative_to(ROOT).as_posix(), line, found[4])


def commands(language: str) -> Iterator[Shown]:
    """The lines of `compactor` in the blocks of a language, each on one line and without its comment."""
    for block in blocks(language):
        first = block.line
        for number, line in enumerate(block.text.replace("\\\n", "\0").splitlines()):
            command = re.sub(r"\0\s*", "", line).split("  #")[0].strip()
            command = command.removeprefix("$ ")
            if language == "console" and not line.lstrip().startswith("$ "):
                continue
            if command.startswith(OURS):
                yield Shown(block.page, first + number, command)


def words(command: str) -> list[str]:
    """What click is given of a command line: without the program, and without what the shell takes."""
    found: list[str] = []
    for word in shlex.split(command)[1:]:
        if word in REDIRECTIONS or word.startswith((">", "<")):
            break
        found.append(word)
    return found


def counts() -> dict[str, int]:
    """How many commands are run, how many are read, how many snippets are run and recipes are loaded."""
    return {
        "commands_run": len(list(commands("bash"))),
        "commands_parsed": len(list(commands("console"))),
        "snippets_run": len(list(blocks("python"))),
        "recipes_checked": len(list(blocks("yaml"))),
    }


def docs_commands_tested() -> int:
    """Commands of `compactor` that a test runs or reads."""
    found = counts()
    return found["commands_run"] + found["commands_parsed"]
