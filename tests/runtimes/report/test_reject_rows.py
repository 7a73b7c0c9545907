"""Rejected answers: rows by hand, and how they are told in each form of a report."""

import io
import re

import msgspec
import numpy as np
import pytest
from rich.console import Console

from compactor_runtimes.report import (
    read_report,
    reject_row,
    render_html,
    render_markdown,
    render_terminal,
    write_report,
)
from compactor_runtimes.report.draw.rejects import rejects_table
from compactor_runtimes.stats.rejection import confidences, rejected
from tests.runtimes.rich_report import SUBJECTS, rich_report

# sure 0.8, 0.6, 0.9, 0.5 of the classes 0, 1, 2, 0
LOGITS = np.log([[0.8, 0.1, 0.1], [0.2, 0.6, 0.2], [0.05, 0.05, 0.9], [0.5, 0.25, 0.25]])


@pytest.fixture(scope="module")
def report():
    """Student and shipped artifact, with a class out of scope; the first row holds a teacher's threshold."""
    labels = [0, 2, 2, 1]
    rows = [
        reject_row(
            name,
            kind,
            logits=LOGITS,
            labels=labels,
            threshold=threshold,
            none=2,
            none_name="<none>",
            split="report",
        )
        for name, kind, threshold in (
            (SUBJECTS[0], "teacher", 0.123456),
            (SUBJECTS[1], "student", 0.7),
            ("onnx int8-static", "artifact", 0.7),
        )
    ]
    return msgspec.structs.replace(rich_report(), rejects=rows)


def drawn(report, width):
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(render_terminal(report))
    return console.export_text()


def test_what_is_rejected_by_hand():
    np.testing.assert_allclose(confidences(LOGITS), [0.8, 0.6, 0.9, 0.5], rtol=1e-6)
    assert rejected(LOGITS, 0.7, None).tolist() == [False, True, False, True]
    assert rejected(LOGITS, 0.7, 2).tolist() == [False, True, True, True]
    assert rejected(LOGITS, 0.0, None).tolist() == [False] * 4


def test_rates_are_none_where_there_are_no_samples():
    def row(labels, threshold, none):
        return reject_row(
            "s",
            "student",
            logits=LOGITS,
            labels=labels,
            threshold=threshold,
            none=none,
            none_name="",
            split="report",
        )

    found = row([0, 0, 2, 0], 0.55, None)
    assert (found.rejected.value, found.kept_accuracy.value, found.kept_accuracy.n) == (0.25, 2 / 3, 3)
    assert (found.in_scope_accuracy, found.out_of_scope_recall) == (None, None)
    everything = row([0, -100, -100, -100], 0.95, 2)
    assert (everything.rejected.value, everything.rejected.n, everything.kept_accuracy) == (1.0, 4, None)
    assert (everything.in_scope_accuracy.value, everything.in_scope_accuracy.n) == (0.0, 1)
    assert everything.out_of_scope_recall is None


def test_the_table_has_a_row_a_subject(report):
    table = rejects_table(report)
    assert table.headings == [
        "subject",
        "threshold",
        "rejected [95%]",
        "accuracy of kept [95%]",
        "in-scope accuracy [95%]",
        "out-of-scope recall [95%]",
    ]
    told = [[(cell.text, cell.note) for cell in cells] for cells in table.rows]
    assert told[0][1] == ("0.1235", "")
    # one of two in scope is kept and right, both out of scope are rejected: Wilson by hand for 1 and 2 of 2
    assert told[1] == [
        ("student (torch)", "student"),
        ("0.7", ""),
        ("75.00%", "[30.1, 95.4] n 4"),
        ("100.00%", "[20.7, 100.0] n 1"),
        ("50.00%", "[9.5, 90.5] n 2"),
        ("100.00%", "[34.2, 100.0] n 2"),
    ]
    assert "An answer '<none>' is rejected too." in table.notes[0]
    plain = [
        msgspec.structs.replace(row, out_of_scope="", in_scope_accuracy=None, out_of_scope_recall=None)
        for row in report.rejects
    ]
    table = rejects_table(msgspec.structs.replace(report, rejects=plain, labelled=False))
    assert table.headings[-1] == "accuracy of kept [95%]"
    assert "scope" not in table.notes[0]
    assert "Accuracy: what the teachers' top class has." in table.notes[0]


@pytest.mark.parametrize("width", [80, 100])
def test_terminal_shows_every_number(report, width):
    text = drawn(report, width)
    assert max(len(line) for line in text.splitlines()) <= width
    table = text[text.index("Rejected answers") : text.index("What each step")]
    for shown in ("0.1235", "75.00%", "[30.1, 95.4]", "[34.2, 100.0]", "OVERRIDDEN"):
        assert shown in table, shown
    assert "…" not in table
    assert "Rejected answers" not in drawn(rich_report(), width)


@pytest.mark.slow
def test_pages_show_the_same(report):
    markdown = render_markdown(report)
    table = markdown[markdown.index("## Rejected answers") : markdown.index("## What each step")]
    assert r"| **75.00% \[30.1, 95.4\] n 4** |" in table
    assert "'&lt;none&gt;' is rejected too" in table
    page = render_html(report)
    assert '<a href="#rejects">Rejected answers</a>' in page
    section = page[page.index('id="rejects"') :].partition("</section>")[0]
    assert re.search(r">75\.00%<small>\[30\.1, 95\.4\] n 4</small>", section)
    assert "&lt;none&gt;" in section
    assert "<none>" not in page
    for without in (render_html(rich_report()), render_markdown(rich_report())):
        assert "Rejected answers" not in without


def test_they_read_back_equal_and_a_report_of_version_4_has_none(report, tmp_path):
    path = write_report(report, tmp_path)
    assert read_report(path) == report
    old = msgspec.json.decode(path.read_bytes())
    assert len(old.pop("rejects")) == 3
    path.write_bytes(msgspec.json.encode(old | {"schema_version": 4}))
    assert read_report(path) == msgspec.structs.replace(report, rejects=[], schema_version=4)
