"""The report's story from plain data: curves, classes, confusion, mistakes; and `compactor report`."""

import base64
import io
import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from compactor.cli.report_command import command, find_report
from compactor.data.splits import Split
from compactor.release.class_details import class_rows, confusion, examples
from compactor.release.training_curves import curves
from compactor_runtimes.errors import IntegrityError, UsageError
from compactor_runtimes.report import write_report
from tests.runtimes.rich_report import rich_report

NAMES = ["cat", "dog", "owl"]
LABELS = np.array([0, 0, 1, 2, -100])


def write_done(folder, history):
    folder.mkdir(parents=True)
    (folder / "done.json").write_text(json.dumps({"digest": "d", "steps": 2, "history": history}))
    return folder


def test_curves_gather_terms_and_select_figures_and_mark_what_an_epoch_lacks(tmp_path):
    history = [
        {"epoch": 0, "step": 5, "terms": {"kl": 2.0, "ce": float("nan")}, "select_accuracy": 0.5},
        {"epoch": 1, "step": 10, "terms": {"kl": 1.0, "ce": 0.25, "mse": 3.0}, "select_macro_f1": 0.7},
    ]
    folders = {"teach": write_done(tmp_path / "a", []), "distil": write_done(tmp_path / "b", history)}
    (curve,) = curves(folders)
    assert (curve.stage, curve.epochs) == ("distil", [0, 1])
    assert curve.terms == {"kl": [2.0, 1.0], "ce": [None, 0.25], "mse": [None, 3.0]}
    assert curve.select == {"accuracy": [0.5, None], "macro_f1": [None, 0.7]}


@pytest.mark.parametrize(
    "content", [None, "{", "{}", "[]", '{"history": [1]}', '{"history": [{"terms": {}}]}']
)
def test_a_damaged_record_of_a_stage_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "done.json").write_text(content)
    with pytest.raises(IntegrityError, match=r"done\.json: is not the record of a trained stage"):
        curves({"distil": tmp_path})


def test_class_rows_and_confusion_by_hand():
    top1 = {"teacher": np.array([0, 0, 1, 2, 0]), "student": np.array([0, 1, 1, 1, 2])}
    rows = class_rows(LABELS, top1, [*NAMES, "never"])
    assert [(row.label, row.n) for row in rows] == [("cat", 2), ("dog", 1), ("owl", 1)]
    assert [row.recall["student"] for row in rows] == [0.5, 1.0, 0.0]
    # cat: 2 * 1 / (2 + 1); dog: 2 * 1 / (1 + 3); owl: never answered
    assert [row.f1["student"] for row in rows] == pytest.approx([2 / 3, 1 / 2, 0])
    assert {row.f1["teacher"] for row in rows} == {1.0}
    found = confusion("student", LABELS, top1["student"], NAMES)
    assert (found.subject, found.labels) == ("student", NAMES)
    assert found.counts == [[1, 1, 0], [0, 1, 0], [0, 1, 0]]


def split_of(inputs):
    rows = np.array([10, 11, 12, 13, 14])
    return Split("report", inputs, {"label": np.full(20, -100)}, rows, "digest")


def log_probs(rows):
    return np.log(np.array(rows))


# right: all labelled but sample 2; sample 4 has no label
TEACHER = log_probs([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.9, 0.05, 0.05], [0.1, 0.1, 0.8], [0.8, 0.1, 0.1]])
# right: sample 0; wrong: 1 (60% sure), 2 (as the teacher is), 3 (90% sure)
STUDENT = log_probs([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.7, 0.2, 0.1], [0.9, 0.05, 0.05], [0.1, 0.8, 0.1]])


def test_examples_are_the_surest_mistakes_that_the_teacher_does_not_make():
    texts = np.array([f"text {number}" for number in range(20)], dtype=object)
    first, second = examples(split_of(texts), LABELS, TEACHER, STUDENT, NAMES)
    assert (first.id, first.text, first.image) == (13, "text 13", None)
    assert (first.truth, first.student, first.teacher) == ("owl", "cat", "owl")
    assert first.student_confidence == pytest.approx(0.9)
    assert first.teacher_confidence == pytest.approx(0.8)
    assert (second.id, second.student) == (11, "dog")
    assert [one.id for one in examples(split_of(texts), LABELS, TEACHER, STUDENT, NAMES, most=1)] == [13]


def test_a_long_text_is_cut():
    texts = np.array(["x" * 5000] * 20, dtype=object)
    text = examples(split_of(texts), LABELS, TEACHER, STUDENT, NAMES)[0].text
    assert text is not None
    assert len(text) == 1001


@pytest.mark.parametrize(
    ("shape", "shown", "mode"),
    [((6, 8, 3), (8, 6), "RGB"), ((8, 8, 1), (8, 8), "L"), ((256, 512, 3), (128, 64), "RGB")],
)
def test_an_image_becomes_a_thumbnail_of_the_right_row_no_larger_than_needed(shape, shown, mode):
    inputs = np.zeros((20, *shape), dtype=np.uint8)
    inputs[13] = 200
    uri = examples(split_of(inputs), LABELS, TEACHER, STUDENT, NAMES)[0].image
    assert uri is not None
    head, _, data = uri.partition(",")
    assert head == "data:image/png;base64"
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    assert (image.size, image.mode) == (shown, mode)
    assert image.getpixel((0, 0)) in (200, (200, 200, 200))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A recipe's folder of runs with one run, whose pages are gone, and a bundle."""
    root = tmp_path_factory.mktemp("runs") / "rich"
    path = write_report(rich_report(), root / "1" / "report")
    for page in (path.with_name("report.html"), path.with_name("report.md")):
        page.unlink()
    (root / "latest").symlink_to("1")
    shutil.copytree(path.parent, root / "1" / "bundle" / "reports")
    (root / "1" / "bundle" / "manifest.json").write_text("{}")
    return root


@pytest.mark.parametrize("source", [".", "latest", "1", "1/report", "1/report/report.json"])
def test_report_is_found_in_a_run_and_in_a_folder_of_runs(run, source):
    assert find_report(run / source).samefile(run / "1" / "report" / "report.json")


def test_report_draws_the_pages_of_a_run_beside_its_report(run):
    done = CliRunner().invoke(command, [str(run)])
    assert done.exit_code == 0, done.output
    names = [line.rpartition("/")[2] for line in done.output.splitlines()]
    assert names == ["report.md", "report.html"]
    assert all((run / "1" / "report" / name).is_file() for name in names)


def test_report_never_writes_into_a_bundle(run, tmp_path):
    bundle = run / "1" / "bundle"
    for source in (bundle, bundle / "reports", bundle / "reports" / "report.json"):
        failed = CliRunner().invoke(command, [str(source)])
        assert isinstance(failed.exception, UsageError)
        assert "--output" in str(failed.exception)
    assert [path.name for path in (bundle / "reports").iterdir()] == ["report.json"]
    done = CliRunner().invoke(command, [str(bundle), "--output", str(tmp_path / "new")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "new" / "report.html").is_file()


def test_report_of_nothing_says_what_it_expects(tmp_path):
    for source, found in ((tmp_path, "no report.json found"), (tmp_path / "x", "no such folder found")):
        failed = CliRunner().invoke(command, [str(source)])
        assert isinstance(failed.exception, UsageError)
        assert found in str(failed.exception)
