"""The report's rows by hand, its file, and what a reader sees at several widths."""

import io
import math

import msgspec
import numpy as np
import pytest
from rich.console import Console

from compactor_runtimes.bundle.manifest import Artifact, Check, ExportSpec
from compactor_runtimes.errors import IntegrityError
from compactor_runtimes.report import (
    Report,
    accuracy_row,
    fidelity_row,
    paired_row,
    read_report,
    render_terminal,
    report_files,
    write_report,
)
from compactor_runtimes.report.format import invalid_reasons
from tests.runtimes.rich_report import rich_report
from tests.runtimes.toy_measurement import measurement as toy_measurement

ENVIRONMENT = {"cpu": "Toy CPU", "usable_cores": 2, "ram_bytes": 8e9, "packages": {"onnxruntime": "1.2.3"}}


def measurement(subject, scope, scenario, samples_ns, **changes):
    return toy_measurement(subject, scope, scenario, samples_ns, environment=ENVIRONMENT, **changes)


@pytest.fixture
def report():
    """A teacher and a student [with brackets] of four samples, and the student's cost."""
    labels = [0, 1, 0, 1]
    teacher = np.log([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]])
    student = np.log([[0.8, 0.2], [0.4, 0.6], [0.3, 0.7], [0.3, 0.7]])
    return Report(
        title="compactor run",
        recipe="toy",
        task="image-classification",
        environment=ENVIRONMENT,
        accuracy=[
            accuracy_row(
                "teacher",
                "teacher",
                logits=teacher,
                labels=labels,
                teacher_logits=None,
                parameters=272_474,
                size_bytes=1_100_000,
                split="report",
            ),
            accuracy_row(
                "student [x]",
                "student",
                logits=student,
                labels=labels,
                teacher_logits=teacher,
                parameters=12_474,
                size_bytes=None,
                split="report",
            ),
        ],
        paired=[
            paired_row(
                "teacher",
                "student [x]",
                step="distillation",
                correct_a=[True] * 4,
                correct_b=[True, True, False, True],
            )
        ],
        measurements=[
            measurement("student [x]", "compute", "single-stream", [2_000_000] * 458 + [3_000_000]),
            measurement(
                "student [x]", "end-to-end", "single-stream", [2_500_000] * 50, reasons=["shaky toy"]
            ),
            measurement("student [x]", "compute", "offline", [32_000_000] * 4),
            measurement("student [x]", "cold-start", "once", [620_000_000] * 3, rss_bytes=1),
            measurement("teacher", "compute", "single-stream", [9_000_000] * 80),
        ],
        gates=[
            Check(name="agreement", passed=True, value=0.99995, limit=0.9999, n=450),
            Check(name="p99", passed=False, value=3.0, limit=2.0, detail="milliseconds"),
        ],
        artifacts=[
            Artifact(name="fp32", spec=ExportSpec(), files=[], status="verified"),
            Artifact(
                name="int8", spec=ExportSpec(), files=[], status="rejected", reason="agreement 0.91 < 0.98"
            ),
        ],
        recommendation="ship fp32",
    )


def drawn(report, width):
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(render_terminal(report))
    return console.export_text()


def test_accuracy_rows_by_hand(report):
    teacher, student = report.accuracy
    assert (teacher.value, teacher.n, teacher.agreement_with_teacher, teacher.kl_to_teacher) == (
        1,
        4,
        None,
        None,
    )
    assert (student.value, student.agreement_with_teacher) == (0.75, 0.75)
    kl = [
        0.9 * math.log(0.9 / 0.8) + 0.1 * math.log(0.1 / 0.2),
        0.2 * math.log(0.2 / 0.4) + 0.8 * math.log(0.8 / 0.6),
        0.6 * math.log(0.6 / 0.3) + 0.4 * math.log(0.4 / 0.7),
        0,
    ]
    assert student.kl_to_teacher == pytest.approx(sum(kl) / 4, rel=1e-9)
    # of 15 bins, 0.6 lies alone (0.4 off), 0.7 twice with one right (0.4 off together), 0.8 alone (0.2 off)
    assert student.ece == pytest.approx((0.4 + 0.4 + 0.2) / 4)
    # class 0: found 1 of 2, answered once: F1 2/3; class 1: found 2 of 2, answered 3 times: F1 4/5
    assert student.macro_f1 == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert student.low == pytest.approx(0.3006, abs=1e-4)  # Wilson 3 of 4
    assert student.high == pytest.approx(0.9544, abs=1e-4)


def test_without_labels_the_score_is_agreement_and_calibration_is_left_out():
    row = accuracy_row(
        "a",
        "artifact",
        logits=[[1.0, 0.0], [1.0, 0.0]],
        labels=[0, 1],
        teacher_logits=None,
        parameters=None,
        size_bytes=1,
        split="report",
        labelled=False,
    )
    assert (row.metric, row.value, row.ece) == ("agreement", 0.5, None)


def test_fidelity_row_of_the_same_directions_is_perfect_and_of_other_dimensions_has_no_cosine(report):
    teacher = np.random.default_rng(0).normal(size=(6, 4))
    about = {"parameters": None, "size_bytes": 9, "split": "report"}
    same = fidelity_row("s", "student", embeddings=3 * teacher, teacher_embeddings=teacher, **about)
    assert (same.metric, same.n, same.ece, same.kl_to_teacher) == ("rank correlation", 6, None, None)
    assert (same.value, same.agreement_with_teacher) == (pytest.approx(1), pytest.approx(1))
    wide = np.concatenate([teacher, np.zeros((6, 3))], axis=1)  # the same angles in more dimensions
    other = fidelity_row("s", "student", embeddings=wide, teacher_embeddings=teacher, **about)
    assert (other.value, other.agreement_with_teacher) == (pytest.approx(1), None)
    itself = fidelity_row("t", "teacher", embeddings=teacher, teacher_embeddings=teacher, **about)
    assert itself.agreement_with_teacher is None

    text = drawn(msgspec.structs.replace(report, accuracy=[same], paired=[]), 100)
    assert "rank correlation" in text
    assert "1.0000 [1.0000, 1.0000]" in text
    assert "cosine" in text
    assert "shares in %" not in text


def test_paired_row_is_in_points_and_calls_a_small_loss_noise(report):
    (row,) = report.paired
    assert (row.difference_points, row.n, row.mcnemar_p, row.verdict) == (-25, 4, 1, "noise")
    assert -100 <= row.low < row.high <= 0


def test_paired_row_calls_a_proven_loss_worse():
    right = [True] * 100
    row = paired_row("a", "b", step="export", correct_a=right, correct_b=[False] * 20 + right[20:])
    assert (row.difference_points, row.verdict) == (-20, "worse")
    assert row.mcnemar_p == pytest.approx(2**-19)


def test_written_report_reads_back_equal_and_keeps_raw_samples_on_one_line(report, tmp_path):
    path = write_report(report, tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / "report.json"
    assert read_report(path) == report
    written = sorted(file.name for file in path.parent.iterdir())
    assert written == ["report.html", "report.json", "report.md"]
    assert [file.name for file in report_files(path.parent)] == ["report.json", "report.md", "report.html"]
    (line,) = [line for line in path.read_text().splitlines() if "samples_ns" in line and "3000000" in line]
    assert line.count("2000000") == 458


def test_strings_that_look_like_lists_are_kept(report, tmp_path):
    odd = msgspec.structs.replace(report, recommendation="see [ 1,  2 ] and [\n1, 2\n]")
    assert read_report(write_report(odd, tmp_path)) == odd


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is not a report"),
        (b"[]", "is not a report"),
        (b'{"schema_version": 99}', "schema version 99 found, this release reads 1 to 6"),
        (b'{"schema_version": 1}', "damaged"),
    ],
)
def test_damaged_report_is_refused(tmp_path, content, message):
    path = tmp_path / "report.json"
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match=message):
        read_report(path)


@pytest.mark.parametrize("width", [80, 100, 140])
def test_no_number_is_cut_off_at_any_width(report, width):
    text = drawn(report, width)
    assert "…" not in text
    for shown in (
        "75.00 [30.06, 95.44]",
        "macro-F1 73.33, n 4",
        "100.00 [51.01, 100.00]",
        "272 k",
        "1.10 MB",
        "2.00 ms",  # compute median
        "n 459",
        "≤ 3.00 ms",  # the bound of p99 is the largest of 459
        "2.50 ms *",  # end-to-end, invalid
        "1,000",  # 32 images in 32 ms
        "620 ms",
        "48.0 MB",
        "needs 459",  # the teacher's p99
    ):
        assert shown in text, shown


def test_verdicts_and_reasons_are_in_words(report):
    text = " ".join(drawn(report, 140).split())
    assert "distillation: teacher → student [x]: -25.00 points" in text
    assert "n 4, McNemar p 1.000: inside the noise" in text
    assert "INVALID 1 of 5 measurements: shaky toy" in text
    assert "passed agreement: value 0.99995, limit 0.9999, n 450" in text
    assert "FAILED p99: value 3, limit 2; milliseconds" in text
    assert "int8 rejected: agreement 0.91 < 0.98" in text
    assert "fp32 not chosen: nothing ships" in text
    assert "Recommendation: ship fp32" in text
    assert "offline: compute in batches of 32" in text
    assert "Toy CPU, 2 usable cores, 8.00 GB RAM, onnxruntime 1.2.3" in text


def test_a_report_of_version_1_is_read_and_its_variants_have_the_verdicts_that_it_kept(report, tmp_path):
    path = write_report(msgspec.structs.replace(report, shipped="onnx fp32"), tmp_path)
    old = msgspec.json.decode(path.read_bytes())
    assert old.pop("schema_version") == 6
    assert old.pop("choice") == []
    assert old.pop("scores") == old.pop("rejects") == []
    for gate in old["gates"]:
        del gate["observed"]
    for artifact in old["artifacts"]:  # as that version wrote them
        del artifact["made"], artifact["errors"], artifact["isa"], artifact["runtimes"]
        artifact["spec"] = {key: artifact["spec"][key] for key in ("format", "precision", "quantization")}
        artifact["spec"] |= {"parent": None, "calibration": None, "target": "ort-cpu", "gpus": []}
    path.write_bytes(msgspec.json.encode(old | {"schema_version": 1}))
    found = read_report(path)
    assert (found.schema_version, found.choice) == (1, [])
    text = drawn(found, 100)
    assert "  fp32 chosen\n" in "\n".join(line.rstrip() for line in text.splitlines())
    assert "int8 rejected: agreement 0.91 < 0.98" in text


@pytest.mark.parametrize("width", [80, 100])
def test_variants_fit_and_no_number_is_cut(width):
    text = drawn(rich_report(), width)
    assert "…" not in text
    assert max(len(line) for line in text.splitlines()) <= width
    table = text[text.index("Variants,") : text.index("Cost:")]
    for shown in ("433 µs", "[1.4, 1.5]", "≥ 99.60%", "≤ 1.55", "0.0021", "328 µs *", "INVALID", "98.0 kB"):
        assert shown in table, shown
    said = " ".join(text.split())
    assert "times as fast as fp32, by the extreme block medians" in said
    assert "fp32-fused chosen: 1.5 times as fast as fp32 [1.4, 1.5]" in said
    assert "int8-static not chosen: OVERRIDDEN: the demo needs a small file (failed: min-agreement" in said
    assert "student (torch) → onnx int8-static (OVERRIDDEN)" in said
    assert said.count("OVERRIDDEN") == 6  # truth, scores, steps, variants (status and reason), cost
    assert "tensorrt-rtx-fp16 not run: no GPU of sm89 here" in said


def test_verdict_of_a_subject_is_invalid_if_one_of_its_measurements_is(report):
    text = drawn(report, 140)
    assert "INVALID CPU" in text
    (line,) = [line for line in text.splitlines() if line.startswith("VALID CPU")]  # the teacher
    assert "needs 459" in line


def test_reason_shared_by_all_measurements_is_said_once(report):
    busy = [
        msgspec.structs.replace(one, valid=False, reasons=["busy machine"]) for one in report.measurements
    ]
    text = drawn(msgspec.structs.replace(report, measurements=busy), 140)
    assert text.count("busy machine") == 1
    assert "INVALID 5 of 5 measurements: busy machine" in text


def test_reasons_that_differ_in_their_numbers_alone_are_one_line_with_the_worst(report):
    shares = [
        msgspec.structs.replace(one, valid=False, reasons=[f"others used {10 * number}%"])
        for number, one in enumerate(report.measurements, 1)
    ]
    (found,) = invalid_reasons(shares)
    assert found.line == "5 of 5 measurements: at worst others used 50%"
    assert len(found.details) == 5
    assert found.details[0].endswith(": others used 10%")


def test_report_without_measurements_or_gates_draws_the_rest(report):
    bare = msgspec.structs.replace(report, measurements=[], gates=[], paired=[], artifacts=[])
    text = drawn(bare, 100)
    assert "75.00" in text
    assert "Cost" not in text
    assert "Gates" not in text
