"""Scores of sets of labels: rows by hand, and how they are told in each form of a report."""

import io

import msgspec
import numpy as np
import pytest
from rich.console import Console

from compactor_runtimes.report import (
    LabelAnswers,
    label_rows,
    labels_accuracy_row,
    labels_paired_row,
    read_report,
    recommend,
    render_html,
    render_markdown,
    render_terminal,
    write_report,
)
from compactor_runtimes.report.draw.labels import labels_table
from tests.runtimes.rich_report import SUBJECTS, rich_report

NAMES = ["cat", "<dog>", "never"]
LABELS = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [-100, -100, -100]])
TAUGHT = np.array([[4.0, -4.0, -9.0], [-4.0, 4.0, -9.0], [4.0, 4.0, -9.0], [9.0, 9.0, 9.0]])
SAID = np.array([[1.0, -1.0, -9.0], [2.0, 1.0, -9.0], [1.5, 0.5, -9.0], [-9.0, -9.0, -9.0]])
TEACHER, STUDENT = LabelAnswers(TAUGHT, [0.5, 0.5, 0.5]), LabelAnswers(SAID, [0.5, 0.7, 0.5])


def row(name, kind, answers, teacher=None):
    about = {"parameters": 9, "size_bytes": 36, "split": "report"}
    return labels_accuracy_row(name, kind, answers, LABELS, teacher=teacher, **about)


def test_a_row_by_hand():
    """Cat at ranks 2 and 3: (1/2 + 2/3) / 2; dog at ranks 1 and 2: 1; `never` does not count."""
    found = row("student", "student", STUDENT, TEACHER)
    assert (found.metric, found.n) == ("mAP", 3)
    assert found.value == pytest.approx(((1 / 2 + 2 / 3) / 2 + 1) / 2)
    # answered: cat thrice (2 right), dog once (0.731, right), of 4 there
    assert found.micro_f1 == pytest.approx(2 * 3 / (4 + 4))
    assert found.macro_f1 == pytest.approx((4 / 5 + 2 / 3) / 2)
    # cat of the second and dog of the third are the student's own
    assert found.agreement_with_teacher == pytest.approx(7 / 9)
    assert found.kl_to_teacher is not None
    assert found.kl_to_teacher > 0
    taught = row("teacher", "teacher", TEACHER)
    assert (taught.value, taught.agreement_with_teacher) == (1.0, None)


def test_labels_by_hand():
    rows = label_rows({"s": STUDENT, "t": TEACHER}, LABELS, NAMES)
    assert [(one.label, one.n) for one in rows] == [("cat", 2), ("<dog>", 2), ("never", 0)]
    assert rows[0].average_precision == {"s": pytest.approx(7 / 12), "t": 1.0}
    assert rows[1].threshold == {"s": 0.7, "t": 0.5}
    assert rows[1].f1 == {"s": pytest.approx(2 / 3), "t": 1.0}
    assert (rows[2].average_precision["s"], rows[2].f1["s"]) == (None, None)


def test_equal_orders_are_no_change():
    found = labels_paired_row("a", "b", step="export", a_logits=SAID, b_logits=2 * SAID, labels=LABELS)
    assert (found.difference_points, found.low, found.high, found.mcnemar_p) == (0, 0, 0, None)
    assert found.verdict == "noise"


@pytest.fixture(scope="module")
def report():
    shipped = rich_report().shipped
    every = {SUBJECTS[0]: TEACHER, SUBJECTS[1]: STUDENT, shipped: STUDENT}
    kinds = dict(zip(every, ("teacher", "student", "artifact"), strict=True))
    pairs = [(SUBJECTS[0], SUBJECTS[1], TAUGHT, SAID), (SUBJECTS[1], shipped, SAID, SAID)]
    return msgspec.structs.replace(
        rich_report(),
        accuracy=[
            row(name, kinds[name], answers, None if answers is TEACHER else TEACHER)
            for name, answers in every.items()
        ],
        paired=[
            labels_paired_row(a, b, step=f"to {b}", a_logits=one, b_logits=other, labels=LABELS)
            for a, b, one, other in pairs
        ],
        labels=label_rows(every, LABELS, NAMES),
        classes=[],
        confusion=None,
        examples=[],
    )


@pytest.mark.slow
def test_labels_are_told_in_each_form(report, tmp_path):
    page, markdown = render_html(report), render_markdown(report)
    console = Console(file=io.StringIO(), width=120)
    console.print(render_terminal(report))
    shown = console.file.getvalue()
    for text in (page, markdown, shown):
        assert "mAP" in text
        assert "micro-F1" in text
        assert "Labels" in text
        assert "never" in text
    assert "&lt;dog&gt;" in page
    assert "<dog>" not in page
    assert "McNemar p -" not in shown
    assert "Its mAP is 79.17%" in recommend(report)
    assert "every label has the same order of samples (n 3)" in recommend(report)
    path = write_report(report, tmp_path)
    assert read_report(path) == report


def test_labels_that_are_found_least_come_first(report):
    assert [cells[0].text for cells in labels_table(report).rows] == ["cat", "<dog>", "never"]
    assert len(labels_table(report).headings) == 2 + 3 * 3
    assert len(labels_table(report, alone=True).headings) == 2 + 3
