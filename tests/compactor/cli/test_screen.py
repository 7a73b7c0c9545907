"""What commands print is what they were given: brackets, colons and `[extra]` of names, paths and errors."""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from rich.console import Console, RenderableType
from rich.table import Table

from compactor import cli, doctor
from compactor.clean import CleanPlan, Item, Limits, Verdict
from compactor.clean.terminal import clean_table
from compactor.cli.run_command import _print_seeds, require_ready
from compactor.progress import RichReporter
from compactor_runtimes.bundle.manifest import Check
from compactor_runtimes.compare import compare, render_comparison
from compactor_runtimes.errors import AccuracyGateError
from compactor_runtimes.golden import verify
from compactor_runtimes.golden.findings import Row
from compactor_runtimes.report import Report, render_terminal
from tests.runtimes.compare_runs import answers, write_run
from tests.runtimes.rich_report import rich_report

HOSTILE = ("[bold]x[/bold]", "[extra]", "photo[1].png", ":smile:", "[/nothing]", "[red]", "[link=a]b[/link]")


def printed(*arguments: str) -> str:
    done = CliRunner().invoke(cli.cli, list(arguments), catch_exceptions=False)
    return done.output


def drawn(what: RenderableType, console: Console) -> str:
    console.file = io.StringIO()
    console.print(what)
    text: str = console.file.getvalue()
    return text


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """No cell is folded."""
    monkeypatch.setattr(cli, "result_console", lambda: cli.plain_console(width=400))


@pytest.mark.parametrize("text", HOSTILE)
def test_every_place_of_a_text_is_plain(text: str) -> None:
    table = Table(title=text, caption=text)
    table.add_column(text)
    table.add_row(text)
    assert drawn(table, cli.plain_console(width=200)).count(text) == 4
    assert drawn(text, cli.plain_console(width=200)) == f"{text}\n"
    assert cli.progress_reporter().console._markup is False  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("is_terminal", [True, False])
def test_progress_shows_titles_and_words_as_they_are(text: str, is_terminal: bool) -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=is_terminal, width=200, color_system=None)  # of any maker
    reporter = RichReporter(console)
    reporter.note(f"note {text}")
    with reporter.bar(f"title {text}", 2) as bar:
        bar.at(1, f"words {text}")
        if is_terminal:
            bar.progress.refresh()  # type: ignore[attr-defined]
    assert f"note {text}" in stream.getvalue()
    assert not is_terminal or (f"title {text}" in stream.getvalue() and f"words {text}" in stream.getvalue())


def test_doctor_prints_the_command_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_installed", lambda package: False)
    text = printed("doctor")
    for extra in doctor.extra_packages():
        assert f"pip install 'compactor-toolkit[{extra}]'" in text


def test_doctor_prints_the_machine_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {
        "environment": {"cpu": "[bold]x[/bold]"},
        "extras": {},
        "runtimes": {"[red]": {"usable": False, "detail": "pip install 'x[y]' :smile:"}},
        "problems": [":smile: [red]"],
    }
    monkeypatch.setattr(doctor, "examine", lambda: found)
    assert printed("doctor").startswith("cpu: [bold]x[/bold]\n")
    assert "problem: :smile: [red]\n" in printed("doctor")
    for name in ("[red]", "not here", "pip install 'x[y]' :smile:"):
        assert name in printed("doctor")


def test_verify_prints_names_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    where = {"artifact": "[red]", "check": ":smile:", "detail": "photo[1].png, [/nothing]"}
    row = Row(passed=True, value=None, limit=1.0, n=1, **where)
    found = verify.Verification(bundle="b", name="[bold]x[/bold]", rows=[row], not_run=["[extra]"])
    monkeypatch.setattr(verify, "verify_bundle", lambda bundle, **options: found)
    text = printed("verify", "b")
    for name in ("verify [bold]x[/bold]", "[red]", ":smile:", "photo[1].png, [/nothing]", "not run: [extra]"):
        assert name in text


def test_clean_prints_paths_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "[bold]x[/bold]"
    counts: dict[str, Any] = {"size_bytes": 1, "bundle_bytes": 0, "modified_s": 0.0, "finished": True}
    item = Item(path=path, kind="run", group="g", links=set(), **counts)
    plan = CleanPlan(
        limits=Limits(), verdicts=[Verdict(item=item, goes=False, why="[red] :smile:", frees_bytes=0)]
    )
    text = drawn(clean_table(plan, tmp_path), cli.plain_console(width=200))
    assert "[bold]x[/bold]" in text
    assert "[red] :smile:" in text


def hostile(report: Report) -> Report:
    """The same report with other names."""
    text = msgspec.json.encode(report).decode()
    for name, other in (
        ("resnet56", "[bold]resnet56[/bold]"),
        ("Toy CPU", "[red] :smile: [/nothing]"),
        ("block medians drift", "[extra] drift"),
        ("student_vs_teacher drop", "[link=a]drop[/link]"),
        ("no GPU of sm89 here", "[/gone] photo[1].png"),
        ("the demo needs", "[dim]it[/dim] :rocket: needs"),
    ):
        assert name in text
        text = text.replace(name, other)
    return msgspec.json.decode(text, type=Report)


@pytest.mark.parametrize("console", [cli.plain_console(width=200), Console(width=200, color_system=None)])
def test_a_report_prints_names_as_they_are_on_any_console(console: Console) -> None:
    text = drawn(render_terminal(hostile(rich_report())), console)
    for name in (
        "[bold]resnet56[/bold] (torch)",
        "[red] :smile: [/nothing]",
        "[extra] drift",
        "[link=a]drop[/link]",
        "[/gone] photo[1].png",
        "[dim]it[/dim] :rocket: needs",
    ):
        assert name in text


@pytest.mark.parametrize("console", [cli.plain_console(width=200), Console(width=200, color_system=None)])
def test_a_comparison_prints_paths_as_they_are_on_any_console(tmp_path: Path, console: Console) -> None:
    runs = [write_run(tmp_path, f"[bold]{name}[1]", answers(1)) for name in "ab"]
    text = drawn(render_comparison(compare(runs)), console)
    assert f"{tmp_path}/[bold]a[1]" in text
    assert f"{tmp_path}/[bold]b[1]" in text


def result(*gates: Check) -> Any:
    return SimpleNamespace(report=SimpleNamespace(shipped="onnx fp32", gates=list(gates)), bundle=Path("b"))


FAILED = Check(name="max-error-ratio", passed=False, detail="the student errs on 9 of 10 samples")


def test_what_is_not_ready_ends_with_the_exit_code_of_the_accuracy_gate() -> None:
    require_ready(result())
    require_ready(result(Check(name="better-than-chance", passed=True)))
    with pytest.raises(
        AccuracyGateError, match=r"not ready to ship: max-error-ratio: the student .* kept in b"
    ) as no:
        require_ready(result(FAILED))
    assert no.value.exit_code == 4


@pytest.mark.parametrize(("gates", "what"), [((), "ship seed 0"), ((FAILED,), "not yet, but seed 0")])
def test_seeds_print_names_as_they_are(
    gates: tuple[Check, ...], what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = SimpleNamespace(subject="[red]x", metric=":smile:", mean=0.5, values=[0.5], n=3)
    found: Any = SimpleNamespace(
        recipe="[bold]r", seeds=[0], rows=[row], steps=[], bundle="b", best_seed=0, best_by="accuracy"
    )
    several: Any = SimpleNamespace(folder=tmp_path, result=found, best=result(*gates))
    _print_seeds(several, as_json=False)
    text = capsys.readouterr().out
    for name in ("[bold]r: seeds 0", "[red]x", ":smile:", what):
        assert name in text
