"""Scores of intents and slots: rows by hand, and how they are told in each form of a report."""

import io
import re

import msgspec
import numpy as np
import pytest
from rich.console import Console

from compactor_runtimes.report import (
    ScoreRow,
    SlotAnswers,
    read_report,
    recommend,
    render_html,
    render_markdown,
    render_terminal,
    score_rows,
    write_report,
)
from compactor_runtimes.report.draw.scores import scores_table
from tests.runtimes.rich_report import rich_report

GOLD = [["O", "B-room", "I-room"], ["B-day", "O", "O"], ["O", "O", "B-day"], ["B-room", "O", "O"]]
# one span of four is called otherwise: F1 3 / 4; one intent of four is wrong, in another text
TEACHER = SlotAnswers(np.array([True, False, True, True]), [*GOLD[:3], ["B-day", "O", "O"]])
# one span is missed, two of three are right: F1 4 / 7; two intents are wrong
STUDENT = SlotAnswers(
    np.array([True, False, True, False]), [["O", "O", "O"], *GOLD[1:3], ["B-day", "O", "O"]]
)


def row(**changes):
    fields = {
        "subject": "student",
        "kind": "student",
        "metric": "slot F1",
        "value": 0.9,
        "low": 0.875,
        "high": 0.92,
        "n": 1234,
        "split": "report",
    }
    return ScoreRow(**fields | changes)


@pytest.fixture(scope="module")
def rich():
    return rich_report()


def drawn(report, width=100):
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(render_terminal(report))
    return console.export_text()


def scored(report, *rows, **changes):
    return msgspec.structs.replace(report, scores=list(rows), **changes)


def test_rows_by_hand():
    rows = score_rows("s", "student", STUDENT, GOLD, teacher=TEACHER, split="report")
    assert [(one.metric, one.n, one.split, one.kind) for one in rows] == [
        ("intent accuracy", 4, "report", "student"),
        ("slot F1", 4, "report", "student"),
        ("exact match", 4, "report", "student"),
    ]
    intent, slots, exact = rows
    assert (intent.value, slots.value, exact.value) == (0.5, pytest.approx(4 / 7), 0.25)
    assert (intent.low, intent.high) == (pytest.approx(0.1500, abs=1e-4), pytest.approx(0.8500, abs=1e-4))
    assert slots.low < 4 / 7 < slots.high
    # errors 2 of 1, (3 / 7) of (1 / 4), 3 of 2
    assert intent.relative_error_change == pytest.approx(1.0)
    assert slots.relative_error_change == pytest.approx((3 / 7) / (1 / 4) - 1)
    assert exact.relative_error_change == pytest.approx(0.5)
    # of four texts 32% of the resamples miss the one in which the teacher errs
    assert (intent.relative_low, intent.relative_high) == (0, None)


def test_a_teacher_has_no_change_and_words_alone_have_no_intent():
    rows = score_rows("t", "teacher", TEACHER, GOLD, teacher=None, split="report")
    assert [one.value for one in rows] == [0.75, 0.75, 0.5]
    assert {(one.relative_error_change, one.relative_low, one.relative_high) for one in rows} == {
        (None, None, None)
    }
    words = SlotAnswers(None, STUDENT.labels)
    (only,) = score_rows("s", "student", words, GOLD, teacher=SlotAnswers(None, TEACHER.labels), split="x")
    assert (only.metric, only.value) == ("slot F1", pytest.approx(4 / 7))


def test_a_teacher_without_errors_leaves_the_change_open():
    perfect = SlotAnswers(np.ones(4, bool), GOLD)
    rows = score_rows("s", "student", STUDENT, GOLD, teacher=perfect, split="report")
    assert {(one.relative_error_change, one.relative_low, one.relative_high) for one in rows} == {
        (None, None, None)
    }


def test_table_has_a_row_a_subject_and_says_what_is_noise(rich):
    change = {"relative_error_change": 0.125, "relative_low": 0.021, "relative_high": 0.25}
    report = scored(
        rich,
        row(subject="teacher", kind="teacher", value=0.95),
        row(subject="teacher", kind="teacher", metric="intent accuracy", value=1.0, high=1.0),
        row(**change),
        row(metric="intent accuracy", relative_error_change=-0.0386, relative_low=-0.07, relative_high=-0.01),
        row(subject="other", **change | {"relative_low": -0.004, "relative_high": None}),
        row(subject="other", metric="intent accuracy"),
    )
    table = scores_table(report)
    assert table.headings == [
        "subject",
        "intent accuracy [95%]",
        "error change",
        "slot F1 [95%]",
        "error change",
    ]
    told = [[(cell.text, cell.note, cell.style) for cell in cells] for cells in table.rows]
    assert told[0][2:] == [("-", "", "dim"), ("95.00%", "[87.5, 92.0]", "strong"), ("-", "", "dim")]
    assert told[1] == [
        ("student", "student", ""),
        ("90.00%", "[87.5, 92.0]", "strong"),
        ("-3.9%", "[-7, -1]", "good"),
        ("90.00%", "[87.5, 92.0]", "strong"),
        ("+12.5%", "[+2, +25]", "bad"),
    ]
    assert told[2][4] == ("+12.5%", "[0, ∞]", "dim")
    assert "Samples: report, n 1,234. Slot F1" in table.notes[0]
    assert "negative is better" in table.notes[0]
    assert "Exact match" not in table.notes[0]


@pytest.mark.parametrize("width", [80, 100])
def test_terminal_shows_every_number(rich, width):
    text = drawn(rich, width)
    assert max(len(line) for line in text.splitlines()) <= width
    table = text[text.index("Intent and slots") : text.index("What each step")]
    for shown in ("90.67%", "[88.1, 92.7]", "+133.3%", "94.74%", "72.33%", "[68.6, 75.8]", "OVERRIDDEN"):
        assert shown in table, shown
    assert "…" not in table
    assert "negative is better" in " ".join(table.split())


@pytest.mark.slow
def test_pages_show_the_same(rich):
    markdown = render_markdown(rich)
    table = markdown[markdown.index("## Intent and slots") : markdown.index("## What each step")]
    assert r"**90.67% \[88.1, 92.7\]** | **+133.3% \[" in table
    page = render_html(rich)
    assert '<a href="#scores">Intent and slots</a>' in page
    section = page[page.index('id="scores"') :].partition("</section>")[0]
    assert re.search(r">90\.67%<small>\[88\.1, 92\.7\]</small>", section)
    assert "negative is better" in section
    without = render_html(msgspec.structs.replace(rich, scores=[]))
    assert "scores" not in re.findall(r'(?:id|href)="#?(\w+)"', without)


def test_a_real_loss_of_slots_is_said_beside_the_recommendation(rich):
    shipped = {"subject": rich.shipped, "kind": "artifact", "relative_error_change": 0.125}
    worse = scored(rich, row(**shipped, relative_low=0.02, relative_high=0.25))
    said = (
        "Its slot F1 is 90.00% [87.50, 92.00] on 1,234 samples; against the teacher the error (1 - F1) "
        "changes by +12.5% [+2, +25], a real loss."
    )
    assert said in recommend(worse)
    noise = scored(rich, row(**shipped, relative_low=-0.02, relative_high=0.25))
    other = scored(rich, row(**shipped | {"subject": "another"}, relative_low=0.02, relative_high=0.25))
    for report in (noise, other, scored(rich, row(**shipped | {"relative_error_change": None}))):
        assert "slot" not in recommend(report)


def test_scores_read_back_equal_and_a_report_of_version_2_has_none(rich, tmp_path):
    path = write_report(rich, tmp_path)
    assert read_report(path) == rich
    assert len(rich.scores) == 18
    old = msgspec.json.decode(path.read_bytes())
    del old["scores"]
    path.write_bytes(msgspec.json.encode(old | {"schema_version": 2}))
    assert read_report(path) == msgspec.structs.replace(rich, scores=[], schema_version=2)
