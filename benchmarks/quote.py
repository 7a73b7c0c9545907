"""Figures in Markdown: between markers, written from results files, and checked to be what these say.

<!-- figure:SUITE.NAME -->...<!-- /figure -->              a number in a sentence, on one line
<!-- results:SUITE [NAME ...] -->...<!-- /results -->      a table of all figures, or of those named
<!-- results:SUITE:runs -->...<!-- /results -->            a suite's own table of its runs

An outdated figure always carries "as of COMMIT".
"""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks import encoder_table, export_table, markdown, measure_table, store_sizes
from benchmarks.results_file import RESULTS, Content, read_results
from benchmarks.states import State, figure_states
from benchmarks.suites import Suite, all_suites, suite_named
from benchmarks.workers import ROOT

RUN_TABLES = {
    "label_store": store_sizes.table,
    "export": export_table.table,
    "encoder": encoder_table.table,
    "measure": measure_table.table,
}
FIGURE = re.compile(r"(<!-- figure:(\w+)\.(\w+) -->)(.*?)(<!-- /figure -->)")
TABLE = re.compile(r"(<!-- results:(\w+)((?:[ :][\w]+)*) -->\n)(.*?)(<!-- /results -->)", re.S)
PAGES = ROOT / "docs" / "results"


@dataclass(frozen=True)
class Quotable:
    """A suite's results as they are quoted."""

    suite: Suite
    content: Content

    @cached_property
    def states(self) -> dict[str, State]:
        """State of each figure."""
        return figure_states(self.suite, self.content)

    def number(self, name: str) -> str:
        """A figure in a sentence: value and unit, interval, and as of which commit if it is outdated."""
        figure, notes = self.figure(name), [self.states[name].as_of]
        return _number(figure, [note for note in notes if note])

    def table(self, names: list[str]) -> str:
        """Figures as Markdown, all or those named; goals and states have columns where they tell anything."""
        figures = {name: self.figure(name) for name in names or self.content["figures"]}
        states = {name: self.states[name].told() for name in figures}
        alike = len(set(states.values())) == 1
        has_goals = any("goal" in figure for figure in figures.values())
        headings = ["of what", "value (range or 95% interval)", "n"]
        headings += ["goal"] * has_goals + ["state"] * (not alike)
        rows = []
        for name, figure in figures.items():
            cells = [f"{figure['about']}: `{name}`", _number(figure, []), f"{figure['n']:,}"]
            cells += [figure.get("goal", "")] * has_goals + [states[name]] * (not alike)
            rows.append(cells)
        told = f"{self.origin} All figures: {next(iter(states.values()))}." if alike else self.origin
        return f"{told}\n\n{markdown.table(headings, rows)}"

    def runs(self) -> str:
        """The suite's own table of its runs, and as of when those are that are outdated."""
        outdated = {state.as_of: None for state in self.states.values() if state.as_of}
        told = f"{self.origin} Outdated figures: {', '.join(outdated)}." if outdated else self.origin
        return f"{told}\n\n{RUN_TABLES[self.suite.name](self.content)}"

    @property
    def origin(self) -> str:
        """What made the runs, on which days and CPUs."""
        days = sorted({run["date"] for run in self.content["runs"]})
        machines = {run["machine"] for run in self.content["runs"]}
        cpus = sorted({self.content["machines"][name]["cpu"] for name in machines})
        day = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
        return f"`{self.content['command']}`, {day}, {', '.join(cpus)}."

    def figure(self, name: str) -> dict[str, Any]:
        """One figure.

        Raises:
            SystemExit: there is none of this name.
        """
        if name not in self.content["figures"]:
            known = ", ".join(self.content["figures"])
            raise SystemExit(f"figure {self.suite.name}.{name}: there is none; expected one of {known}")
        found: dict[str, Any] = self.content["figures"][name]
        return found


def quotable(name: str) -> Quotable:
    """Open a suite's results.

    Raises:
        SystemExit: there are none.
    """
    content = read_results(name)
    if not content.get("figures"):
        raise SystemExit(f"results of {name}: there are none; run `python -m benchmarks.run {name}`")
    return Quotable(suite_named(name), content)


def filled(text: str, results: dict[str, Quotable]) -> str:
    """Return a page with all that its markers ask for.

    Raises:
        SystemExit: a marker asks for what there is not, or has no end.
    """
    opened, closed = (text.count(f"<!-- {word}") for word in ("figure:", "/figure -->"))
    tables = [text.count(f"<!-- {word}") for word in ("results:", "/results -->")]
    if opened != closed or tables[0] != tables[1]:
        raise SystemExit(
            f"markers: found {opened} figure: and {closed} /figure, {tables[0]} results: and {tables[1]} "
            "/results; each needs its end, a figure's on the same line"
        )
    text = FIGURE.sub(lambda found: found[1] + _of(results, found[2]).number(found[3]) + found[5], text)

    def table(found: re.Match[str]) -> str:
        one, words = _of(results, found[2]), found[3].replace(":", " :").split()
        body = one.runs() if words == [":runs"] else one.table(words)
        return f"{found[1]}\n{body}\n{found[5]}"

    return TABLE.sub(table, text)


def quoting_pages() -> list[Path]:
    """All pages that may quote figures."""
    own = {path for path in PAGES.glob("*.md")}
    pages = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")]
    pages += [path for path in sorted((ROOT / "docs").rglob("*.md")) if path not in own]
    return [path for path in pages if path.is_file()]


def written_pages(results: dict[str, Quotable]) -> dict[Path, str]:
    """Every page as it should be: those that quote, and a page of each suite's results."""
    found = {path: filled(path.read_text(encoding="utf-8"), results) for path in quoting_pages()}
    for name, one in results.items():
        page = f"# {name}\n\n{_first_lines(one.suite)}\n\n{one.table([])}"
        page += f"\n## Runs\n\n{one.runs()}" if name in RUN_TABLES else ""
        for picture in one.suite.pictures:
            if (RESULTS / f"{picture}.png").is_file():
                page += f"\n![Curves of {picture}](../../benchmarks/results/{picture}.png)\n"
        found[PAGES / f"{name}.md"] = page
    found[PAGES / "index.md"] = _index(results)
    return found


def _index(results: dict[str, Quotable]) -> str:
    lines = [
        "# Results",
        "",
        "Every number here is computed from committed runs by `make results`; nothing is typed. A figure is",
        "**current** if the code, the recipe and the settings that decide it are those of its runs,",
        "**confirmed** if a repeat of the first steps, or of a block of a timing, gave the same at a later",
        "commit, and otherwise quoted **as of** the commit of its runs.",
        "",
        "| suite | figures | current | confirmed | as of an earlier commit | runs of | CPU |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, one in results.items():
        kinds = [state.kind for state in one.states.values()]
        counted = [kinds.count(kind) for kind in ("current", "confirmed", "outdated")]
        _, day, cpu = one.origin.rstrip(".").split(", ", 2)
        lines.append(
            f"| [{name}]({name}.md) | {len(kinds)} | {' | '.join(map(str, counted))} | {day} | {cpu} |"
        )
    return "\n".join(lines) + "\n"


def _first_lines(suite: Suite) -> str:
    return (suite.module.__doc__ or "").strip()


def _of(results: dict[str, Quotable], name: str) -> Quotable:
    if name not in results:
        raise SystemExit(f"suite {name}: no results to quote; expected one of {', '.join(results)}")
    return results[name]


def all_results() -> dict[str, Quotable]:
    """All suites that have results, by name."""
    return {
        suite.name: quotable(suite.name) for suite in all_suites() if read_results(suite.name).get("figures")
    }


def _number(figure: dict[str, Any], notes: list[str]) -> str:
    """Value, unit and, in brackets, the interval and notes."""
    unit, shown = _shown(figure)
    value, low, high = (shown(figure[key]) for key in ("value", "low", "high"))
    beside = [] if low == high else [f"{low} to {high}"]
    beside += notes
    return f"{value}{unit}" + (f" ({'; '.join(beside)})" if beside else "")


def _shown(figure: dict[str, Any]) -> tuple[str, Any]:
    """How a figure's unit and numbers are written: shares in percent, points signed, the rest in 3 digits."""
    if figure["unit"] == "share":
        return "%", lambda value: f"{100 * value:.1f}"
    if figure["unit"] == "points":
        return " points", lambda value: f"{value:+.2f}"
    unit = f" {figure['unit']}" if figure["unit"] else ""
    return unit, lambda value: f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
