"""Show what `plan --sizes` found in a terminal, and the command that chooses one of the rows."""

import shlex
from pathlib import Path

import msgspec
from msgspec import to_builtins
from rich.console import Group, RenderableType
from rich.text import Text

from compactor.recipe.load import LoadedRecipe
from compactor.sizes.result import SizeRow, Sizes
from compactor_runtimes.measure.measurement import Measurement
from compactor_runtimes.report.draw.result_table import result_table
from compactor_runtimes.stats.percentiles import format_ns
from compactor_runtimes.units import scaled

NO_VALUE = "-"
AGAINST = "vs: compute against all teachers in turn, both in ONNX Runtime; noise: block medians overlap"
MOST_NAMES = 2  # named in a reason; of more, only how many


def render_sizes(sizes: Sizes) -> RenderableType:
    """Return the table, and below it one line for every reason why a number must not be used."""
    teachers = sum(row.is_teacher for row in sizes.rows)
    table = result_table(
        f"sizes for {sizes.recipe}: random weights, ONNX fp32, one sample at a time, fastest first"
    )
    shapes = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in sizes.flops_input.items())
    table.caption = (
        f"FLOPs: of {shapes}, a multiply-add counted as 2 · compute: the runtime call alone, median · "
        "end-to-end: raw input to result, median · RSS: peak of the process, libraries included · "
        f"threads: {sizes.threads or 'the default of ONNX Runtime'} · * INVALID · "
        "says nothing about accuracy" + (f" · {AGAINST}" if teachers else "")
    )
    table.add_column("model", min_width=12, overflow="fold")
    headings = ("parameters", "FLOPs", "ONNX", "compute", "p90", "end-to-end", "peak RSS")
    against = [f"vs {'teacher' if teachers == 1 else f'{teachers} teachers'}"] if teachers else []
    for heading in (*headings, *against):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in sizes.rows:
        table.add_row(*_cells(sizes, row), *([_faster(sizes, row)] if teachers else []))
    return Group(table, *_reasons(sizes))


def hint(sizes: Sizes, loaded: LoadedRecipe, runs: Path) -> str:
    """The command that runs the recipe with the fastest measured row that is not its student already."""
    others = [row for row in sizes.rows if row.compute and not row.is_student]
    if not others:
        return ""
    last = len(loaded.recipe.stages) - 1
    own = last >= 0 and loaded.recipe.stages[last].student is not None
    key = f"stages.{last}.student" if own else "student"
    chosen = next((row for row in others if not row.is_teacher), others[0])
    options = msgspec.json.encode(to_builtins(chosen.options)).decode()
    settings = [f"{key}.model={chosen.model}"]
    if chosen.options != sizes.student.options:
        settings.append(f"{key}.options={options}")
    student = loaded.recipe.stages[last].student if own else loaded.recipe.student
    if student is not None and student.weights not in (None, "pretrained"):  # a file fits one model alone
        settings.append(f"{key}.weights=null")
    words = [word for setting in settings for word in ("--set", setting)]
    return f"{loaded.command(runs)} {shlex.join(words)}"


def _cells(sizes: Sizes, row: SizeRow) -> list[str | Text]:
    style = "bold" if row.is_student else ""
    kinds = [kind for kind, holds in (("student", row.is_student), ("teacher", row.is_teacher)) if holds]
    marked = row.compute
    p90 = marked.percentile(0.9).value_ns if marked else None
    return [
        Text.assemble((row.name, style), (f"  <- {' and '.join(kinds)}" if kinds else "", "cyan")),
        scaled(row.parameters, ""),
        scaled(row.flops, ""),
        NO_VALUE if row.onnx_bytes is None else scaled(row.onnx_bytes, "B"),
        _median(marked),
        NO_VALUE if p90 is None else format_ns(p90),
        _median(row.end_to_end),
        scaled(marked.rss_bytes, "B") if marked else NO_VALUE,
    ]


def _median(one: Measurement | None) -> str | Text:
    """The median; marked where it must not be used, so that nobody copies it unawares."""
    if one is None:
        return NO_VALUE
    value = format_ns(one.median_ns)
    return value if one.valid else Text(f"{value} *", "yellow")


def _faster(sizes: Sizes, row: SizeRow) -> str:
    ratio = sizes.against_teachers(row)
    if ratio is None:
        return NO_VALUE
    times = 1 / ratio.value
    used = [row, *(one for one in sizes.rows if one.is_teacher)]
    mark = "" if all(one.compute and one.compute.valid for one in used) else " *"
    if row.is_teacher and times == 1:
        return "reference"
    if ratio.verdict == "noise":
        return f"{times:.1f}x, noise{mark}"
    return f"{times:.1f}x faster{mark}" if times >= 1 else f"{1 / times:.1f}x slower{mark}"


def _reasons(sizes: Sizes) -> list[Text]:
    """One line for each reason, naming the rows that share it."""
    affected: dict[str, dict[str, list[str]]] = {}
    for row in sizes.rows:
        for one in (row.compute, row.end_to_end):
            for reason in one.reasons if one else []:
                scopes = affected.setdefault(reason, {}).setdefault(row.name, [])
                scopes.append(one.scope if one else "")
    lines = []
    for reason, found in affected.items():
        names = [name if len(scopes) > 1 else f"{name} {scopes[0]}" for name, scopes in found.items()]
        where = ", ".join(names) if len(names) <= MOST_NAMES else f"{len(names)} of {len(sizes.rows)} models"
        lines.append(Text.assemble(("INVALID ", "red"), f"{reason} ({where})"))
    return lines + [
        Text.assemble(("not measured ", "red"), f"{row.name}: {row.problem}")
        for row in sizes.rows
        if row.problem
    ]
