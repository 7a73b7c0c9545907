"""Texts that name a file of ours name one that exists: docstrings, comments, README and docs."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TREES = ("compactor", "exporters", "runtimes", "benchmarks")
NAMED = re.compile(r"[\w/]*\w\.py\b")


def test_every_file_that_a_text_names_is_the_sibling_or_the_only_one_of_that_name() -> None:
    files = sorted(path for tree in TREES for path in (ROOT / tree).rglob("*.py"))
    everything = [path.relative_to(ROOT).as_posix() for path in [*files, *(ROOT / "tests").rglob("*.py")]]
    lost = []
    for path in [*files, ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for named in NAMED.findall(path.read_text(encoding="utf-8")):
            found = [one for one in everything if f"/{one}".endswith(f"/{named.lstrip('/')}")]
            if len(found) != 1 and not (path.parent / named).is_file():
                lost.append(f"{path.relative_to(ROOT)} names {named}, found {found or 'none'}")
    assert not lost, "\n".join(lost)
