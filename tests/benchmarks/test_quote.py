"""What README and docs quote is what the results say, with "as of" where it is outdated."""

from pathlib import Path

import pytest

from benchmarks import quote, results_file
from benchmarks.quote import Quotable, filled
from benchmarks.results_file import read_results
from tests.benchmarks.conftest import Toy

LINE = "It takes <!-- figure:toy.slow -->?<!-- /figure --> here.\n"
TABLE = "<!-- results:toy slow -->\n<!-- /results -->\n"


@pytest.fixture
def results(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> dict[str, Quotable]:
    monkeypatch.setattr(results_file, "commit", lambda: "aaaaaaa")
    return {"toy": Quotable(toy.suite, toy.run())}


def test_a_number_has_its_unit_and_interval(results: dict[str, Quotable]) -> None:
    assert filled(LINE, results) == (
        "It takes <!-- figure:toy.slow -->11.5 s (11 to 12)<!-- /figure --> here.\n"
    )


def test_an_outdated_number_says_as_of_when(results: dict[str, Quotable], toy: Toy) -> None:
    toy.write("toy_slow", "def work():\n    return 2\n")
    again = {"toy": Quotable(toy.suite, read_results("toy"))}
    assert "11.5 s (11 to 12; as of aaaaaaa)" in filled(LINE, again)
    assert "All figures: as of aaaaaaa." in filled(TABLE, again)
    both = filled("<!-- results:toy slow fast -->\n<!-- /results -->\n", again)
    assert "| as of aaaaaaa |" in both
    assert "| current (aaaaaaa) |" in both


def test_a_table_has_the_figures_that_were_named(results: dict[str, Quotable]) -> None:
    page = filled(TABLE, results)
    assert "`slow`" in page
    assert "`fast`" not in page
    assert filled(page, results) == page


def test_all_figures_where_none_is_named(results: dict[str, Quotable]) -> None:
    assert "`fast`" in filled("<!-- results:toy -->\n<!-- /results -->\n", results)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<!-- figure:toy.other -->?<!-- /figure -->", "toy.other: there is none; expected one of slow"),
        ("<!-- figure:none.slow -->?<!-- /figure -->", "suite none: no results to quote"),
        ("<!-- figure:toy.slow -->?", "found 1 figure: and 0 /figure"),
        ("<!-- results:toy -->\n", "1 results: and 0 /results"),
    ],
)
def test_a_marker_that_cannot_be_filled_is_refused(
    results: dict[str, Quotable], text: str, said: str
) -> None:
    with pytest.raises(SystemExit, match=said):
        filled(text, results)


def test_a_page_that_was_changed_by_hand_is_found(
    results: dict[str, Quotable],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from benchmarks import run

    readme = tmp_path / "README.md"
    readme.write_text(LINE)
    for module in (quote, run):
        monkeypatch.setattr(module, "ROOT", tmp_path)
        monkeypatch.setattr(module, "all_results", lambda: results)
    monkeypatch.setattr(quote, "PAGES", tmp_path / "docs" / "results")
    monkeypatch.setattr(run, "all_suites", lambda: [])
    assert run.check() == 1  # nothing is written yet
    run.write_figures()
    assert run.check() == 0
    readme.write_text(readme.read_text().replace("11.5", "10.5"))
    capsys.readouterr()
    assert run.check() == 1
    assert "10.5 s" in capsys.readouterr().out


def test_a_figure_that_was_typed_is_found(
    results: dict[str, Quotable],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from benchmarks import run

    monkeypatch.setattr(run, "all_results", lambda: results)
    monkeypatch.setattr(run, "written_pages", lambda results: {})
    assert run.check() == 0
    results["toy"].content["figures"]["slow"]["value"] = 10.5
    assert run.check() == 1
    assert "toy.slow: 10.5 found, the runs give 11.5" in capsys.readouterr().out


def test_shares_are_written_in_percent() -> None:
    unit, shown = quote._shown({"unit": "share"})
    assert shown(0.7464) + unit == "74.6%"
