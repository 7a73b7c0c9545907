"""Show a profile: in the terminal, as Markdown and as one HTML page; and several machines side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import yaml
from rich.console import Group, RenderableType
from rich.text import Text

from compactor_runtimes.errors import MissingDependency
from compactor_runtimes.files import write_whole
from compactor_runtimes.report.draw.anatomy_figures import (
    anatomy_figures,
    anatomy_table,
    memory_words,
    precisions,
)
from compactor_runtimes.report.draw.markdown import markdown_table, markdown_text
from compactor_runtimes.report.draw.page import render_template
from compactor_runtimes.report.draw.pages import Pages
from compactor_runtimes.report.draw.profile_figures import profile_figures, series_of
from compactor_runtimes.report.draw.profile_tables import (
    golden_cell,
    machines_table,
    measured_of,
    pick,
    server_table,
    subjects_table,
    sweep_table,
)
from compactor_runtimes.report.draw.result_table import subject_table
from compactor_runtimes.report.draw.text_tables import Table
from compactor_runtimes.report.format import NO_VALUE, invalid_reasons, machine
from compactor_runtimes.stats.percentiles import format_ns
from compactor_runtimes.units import scaled

if TYPE_CHECKING:
    from compactor_runtimes.measure.machine_profile import MachineProfile
    from compactor_runtimes.measure.measurement import Measurement

MARKDOWN_FILE, HTML_FILE = "profile.md", "profile.html"
MERGED_MARKDOWN, MERGED_HTML = "machines.md", "machines.html"


def render_profile_terminal(profile: "MachineProfile") -> RenderableType:
    """Return a rich renderable: what to load first, then what each subject costs."""
    parts: list[RenderableType] = [
        Text(
            f"{profile.title} on this machine"
            if not profile.target
            else f"{profile.title} on {profile.target}"
        ),
        Text(machine(profile.environment), style="dim"),
        Text(),
        Text.assemble(("Recommendation: ", "bold"), recommendation_words(profile)),
        Text(),
        _terminal_table(profile),
    ]
    server = server_table(profile)
    if server is not None:
        parts += [Text(), *_terminal_rows("Server: the highest rate within the bound", server)]
    parts += [Text.assemble(("  INVALID ", "red"), one.line) for one in invalid_reasons(profile.measurements)]
    parts += [
        Text.assemble((f"  {row.name} was not measured: ", "yellow"), row.not_run)
        for row in profile.subjects
        if row.not_run
    ]
    parts += [Text(f"  {note}", style="dim") for note in _notes(profile)]
    return Group(*parts)


def render_profile_markdown(profile: "MachineProfile", *, note: str = "") -> str:
    """Return the profile as a Markdown page; `note` is a last remark."""
    parts = [f"# {markdown_text(profile.title)}", f"**{markdown_text(recommendation_words(profile))}**"]
    parts += ["## Subjects", markdown_table(subjects_table(profile))]
    for title, table in (("Sweep", sweep_table(profile)), ("Server", server_table(profile))):
        parts += [f"## {title}", markdown_table(table)] if table is not None else []
    if profile.anatomies:
        table = anatomy_table(profile.anatomies, profile.measurements)
        parts += ["## Where time and memory go", markdown_table(table)]
    invalid = invalid_reasons(profile.measurements)
    parts += ["## INVALID", "\n".join(f"- {markdown_text(one.line)}" for one in invalid)] if invalid else []
    parts += ["## Machine", markdown_text(machine(profile.environment))]
    parts += ["\n".join(f"- {markdown_text(each)}" for each in _notes(profile))]
    parts += [f"_{markdown_text(note)}_"] if note else []
    return "\n\n".join(part for part in parts if part) + "\n"


def render_profile_html(profile: "MachineProfile") -> str:
    """Return the page.

    Raises:
        MissingDependency: the `report` extra is not installed.
    """
    numbers = series_of(profile)
    figures = profile_figures(profile)
    return render_template(
        "profile.html.jinja",
        profile=profile,
        recommendation=recommendation_words(profile),
        load=load_words(profile),
        machine=machine(profile.environment),
        invalid=invalid_reasons(profile.measurements),
        subjects=subjects_table(profile),
        figures=figures,
        sweep=sweep_table(profile),
        server=server_table(profile),
        anatomies=anatomy_figures(profile.anatomies, profile.measurements, numbers),
        anatomy=anatomy_table(profile.anatomies, profile.measurements),
        notes=_notes(profile),
        provenance=_provenance(profile),
    )


def write_profile_pages(profile: "MachineProfile", folder: Path) -> Pages:
    """Write profile.md and, where the `report` extra is installed, profile.html into `folder`."""
    return _write(
        folder,
        (MARKDOWN_FILE, HTML_FILE),
        lambda note: render_profile_markdown(profile, note=note),
        lambda: render_profile_html(profile),
    )


def machine_names(profiles: "Sequence[MachineProfile]", given: Sequence[str]) -> list[str]:
    """Name each by its target, else its CPU and cores; what is alike also by its file."""
    names = [
        one.target
        or f"{one.environment.get('cpu') or 'unknown CPU'}, {one.environment.get('usable_cores')} cores"
        for one in profiles
    ]
    return [
        name if names.count(name) == 1 else f"{name} ({path})"
        for name, path in zip(names, given, strict=True)
    ]


def write_merged_pages(profiles: "Sequence[MachineProfile]", given: Sequence[str], folder: Path) -> Pages:
    """Write machines.md and, with the `report` extra, machines.html; `given` are the profiles' files."""
    names = machine_names(profiles, given)
    table = machines_table(profiles, names)
    told = [
        (name, recommendation_words(one), machine(one.environment), invalid_reasons(one.measurements))
        for name, one in zip(names, profiles, strict=True)
    ]

    def markdown(note: str) -> str:
        parts = ["# Machines side by side"]
        parts += ["\n".join(f"- {markdown_text(name)}: {markdown_text(words)}" for name, words, *_ in told)]
        parts += [markdown_table(table)]
        invalid = [
            f"- INVALID on {markdown_text(name)}: {markdown_text(one.line)}"
            for name, _, _, reasons in told
            for one in reasons
        ]
        parts += ["\n".join(invalid)] if invalid else []
        parts += [f"_{markdown_text(note)}_"] if note else []
        return "\n\n".join(parts) + "\n"

    return _write(
        folder,
        (MERGED_MARKDOWN, MERGED_HTML),
        markdown,
        lambda: render_template("machines.html.jinja", told=told, table=table),
    )


def render_merged_terminal(profiles: "Sequence[MachineProfile]", given: Sequence[str]) -> RenderableType:
    """The same table for the terminal."""
    table = machines_table(profiles, machine_names(profiles, given))
    return Group(*_terminal_rows("Machines side by side", table))


def recommendation_words(profile: "MachineProfile") -> str:
    """What to load and why, or that nothing can be recommended."""
    found = profile.recommendation
    if not found.subject:
        measured = any(one.n for one in profile.measurements)
        why = found.why or ("the profile holds no choice" if measured else "nothing was measured")
        return f"none: {why}"
    batch = "" if found.batch is None else f" Where many samples wait, batches of {found.batch}."
    return f"load {found.subject} ({found.policy}): {found.why}.{batch}"


def load_words(profile: "MachineProfile") -> str:
    """The line of Python that takes the recommendation over; empty where there is none."""
    if not profile.recommendation.subject:
        return ""
    return 'compactor_runtimes.load("BUNDLE", profile="profile.json")'


def _terminal_table(profile: "MachineProfile") -> Any:
    table = subject_table("", "\nsubject")
    for heading in (
        "golden",
        "compute\none sample",
        "\np99",
        "end to\nend",
        "\nsamples/s",
        "\nstart",
        "\nPSS",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    anatomies = {one.subject: one for one in profile.anatomies}
    for row in profile.subjects:
        found = measured_of(profile, row.name)
        if not found:
            continue
        single, end = pick(found, "compute", "single-stream"), pick(found, "end-to-end", "single-stream")
        offline = [one for one in found if (one.scope, one.scenario) == ("compute", "offline")]
        best = max(offline, key=lambda one: one.images_per_s, default=None)
        golden = golden_cell(row)
        ran = precisions(anatomies[row.name]) if row.name in anatomies else ""
        p99 = None if single is None else single.percentile(0.99)
        table.add_row(
            Text.assemble(row.name, (f"\nran in {ran}" if ran else "", "dim")),
            Text(golden.text, style={"good": "green", "bad": "red"}.get(golden.style, "dim")),
            _marked(single),
            NO_VALUE
            if single is None or p99 is None or p99.value_ns is None
            else Text.assemble(_star(format_ns(p99.value_ns), single)),
            _marked(end),
            NO_VALUE
            if best is None
            else Text.assemble(_star(f"{best.images_per_s:,.0f}", best), (f"\nbatch {best.batch}", "dim")),
            _marked(pick(found, "cold-start", "once")),
            NO_VALUE if found[0].pss_bytes is None else scaled(found[0].pss_bytes, "B"),
        )
    return table


def _terminal_rows(title: str, table: Table) -> list[RenderableType]:
    drawn = subject_table(title, table.headings[0])
    for heading in table.headings[1:]:
        drawn.add_column(heading, justify="right", overflow="fold")
    for row in table.rows:
        drawn.add_row(
            *(Text.assemble(cell.text, (f"\n{cell.note}" if cell.note else "", "dim")) for cell in row)
        )
    return [drawn, *(Text(f"  {note}", style="dim") for note in table.notes)]


def _marked(one: "Measurement | None") -> Text:
    if one is None:
        return Text(NO_VALUE)
    return Text.assemble(_star(format_ns(one.median_ns), one), (f"\nn {one.n:,}", "dim"))


def _star(text: str, one: "Measurement") -> tuple[str, str]:
    return (text, "") if one.valid else (f"{text} *", "yellow")


def _notes(profile: "MachineProfile") -> list[str]:
    drivers = dict.fromkeys(one.driver for one in profile.measurements if one.driver)
    issued = f"load issued by {', '.join(drivers)}; " if drivers else ""
    notes = [*profile.notes, f"{issued}profile {profile.settings.profile}"]
    notes += [
        f"{one.subject}: {memory_words(one.memory)}"
        for one in profile.anatomies
        if one.memory is not None and "GROWS" in memory_words(one.memory)
    ]
    return [*notes, profile.stopped] if profile.stopped else notes


def _provenance(profile: "MachineProfile") -> list[tuple[str, str]]:
    known = {
        "command": profile.command,
        "made": f"{profile.created}, compactor-toolkit {profile.tool_version}",
        "settings": msgspec.to_builtins(profile.settings),
        "environment": profile.environment,
    }
    return [
        (name, value if isinstance(value, str) else yaml.safe_dump(value, sort_keys=False).rstrip())
        for name, value in known.items()
        if value
    ]


def _write(folder: Path, names: tuple[str, str], markdown: Any, html: Any) -> Pages:
    paths = folder / names[0], folder / names[1]
    try:
        page, note = html(), ""
    except MissingDependency as error:
        page, note = None, f"{names[1]} was not written: {error}"
    write_whole(paths[0], markdown(note).encode())
    if page is None:
        paths[1].unlink(missing_ok=True)
        return Pages([paths[0]], note)
    write_whole(paths[1], page.encode())
    return Pages(list(paths), note)
