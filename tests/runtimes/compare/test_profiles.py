"""Profiles of a machine beside each other: which subjects are compared, what is refused, what is drawn."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from compactor_runtimes.compare import render_comparison
from compactor_runtimes.compare.gates import parse_gate
from compactor_runtimes.compare.profile_files import is_profile
from compactor_runtimes.compare.profiles import compare_profiles
from compactor_runtimes.errors import UsageError
from compactor_runtimes.measure.measurement import Settings
from tests.runtimes.compare_profiles import FLAT, given, profile, subject
from tests.runtimes.compare_runs import ENVIRONMENT
from tests.runtimes.toy_measurement import blocks_of, measurement

SLOWER = tuple(2 * value for value in FLAT)


def compared(a, b, *gates, **leave):
    return compare_profiles(
        [given("a.json", a), given("b.json", b)], gates=[parse_gate(gate) for gate in gates], **leave
    )


def drawn(comparison, width=100):
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(render_comparison(comparison))
    return console.export_text()


def test_subjects_of_the_same_name_are_compared():
    rows = [subject(), subject("onnx int8", size_bytes=500)]
    comparison = compared(
        profile(subjects=rows), profile(SLOWER, subjects=rows[::-1]), "median>+90%", "size>+0"
    )
    assert [pair.subjects for pair in comparison.pairs] == [("onnx fp32",) * 2, ("onnx int8",) * 2]
    assert [pair.times[0].value for pair in comparison.pairs] == pytest.approx([2, 2])
    assert [(side.letter, side.shipped) for side in comparison.sides] == [
        ("A", "onnx fp32"),
        ("A", "onnx int8"),
        ("B", "onnx fp32"),
        ("B", "onnx int8"),
    ]
    assert [(one.pair, one.outcome) for one in comparison.gates] == [
        ("B onnx fp32 against A onnx fp32", "failed"),
        ("B onnx fp32 against A onnx fp32", "passed"),
        ("B onnx int8 against A onnx int8", "failed"),
        ("B onnx int8 against A onnx int8", "passed"),
    ]


def test_two_subjects_are_compared_by_name_in_one_profile():
    rows = [subject(), subject("onnx int8", size_bytes=500, value=0.8, low=0.7, high=0.85)]
    both = profile(
        subjects=rows,
        measurements=[
            blocks_of("onnx fp32", *FLAT, session="s"),
            blocks_of("onnx int8", *SLOWER, session="s"),
        ],
    )
    sides = [given("p.json#onnx fp32", both, "onnx fp32"), given("p.json#onnx int8", both, "onnx int8")]
    comparison = compare_profiles(sides, gates=[parse_gate("median>+99%"), parse_gate("accuracy<-1")])
    (pair,) = comparison.pairs
    assert (pair.subjects, pair.size) == (("onnx fp32", "onnx int8"), 0.5)
    assert [one.outcome for one in comparison.gates] == ["failed", "failed"]  # 0.85 - 0.88: 3 points at best
    assert comparison.gates[0].how == "8 blocks that took turns"
    with pytest.raises(UsageError, match=r"p\.json#x: has no subject 'x'; known: onnx fp32, onnx int8"):
        compare_profiles([given("p.json#x", both, "x"), sides[1]])


def test_a_subject_that_vanished_decides_no_gate():
    rows = [subject(), subject("onnx int8")]
    gone = profile(subjects=[subject(), subject("onnx int8", not_run="no such runtime")])
    for b, why in ((gone, "was not run (no such runtime)"), (profile(), "holds no subject 'onnx int8'")):
        comparison = compared(profile(subjects=rows), b, "size>+0")
        assert [one.outcome for one in comparison.gates] == ["passed", "undecided"]
        assert why in comparison.gates[1].reason
        assert any(why in note for note in comparison.notes)
        assert drawn(comparison).count("UNDECIDED") == 1
    comparison = compared(profile(), profile(subjects=rows))
    assert "not compared, a.json did not measure it: onnx int8" in comparison.notes
    with pytest.raises(UsageError, match=r"b\.json: has no subject of a\.json \(onnx fp32\), it has other"):
        compared(profile(), profile(subjects=[subject("other")]))


def test_a_profile_that_was_stopped_is_named():
    assert "b.json was stopped early: Ctrl-C" in compared(profile(), profile(stopped="Ctrl-C")).notes


def test_an_invalid_or_missing_measurement_decides_no_gate():
    busy = profile(measurements=[blocks_of("onnx fp32", *FLAT, reasons=["busy"])])
    (gate,) = compared(profile(), busy, "median>+99%").gates
    assert (gate.outcome, "INVALID: busy" in gate.reason) == ("undecided", True)
    (gate,) = compared(profile(), profile(measurements=[]), "median>+99%").gates
    assert (gate.outcome, "holds no compute" in gate.reason) == ("undecided", True)


@pytest.mark.parametrize(
    ("other", "leave", "why"),
    [
        ({"environment": ENVIRONMENT | {"cpu": "Other"}}, "across_machines", "another machine.*cpu 'Other'"),
        ({"settings": Settings(threads=1)}, "across_plans", "another plan.*threads 1 against none"),
        ({"settings": Settings(profile="long")}, "across_plans", "another plan.*profile 'long'"),
        (
            {"measurements": [blocks_of("onnx fp32", *FLAT, sample_set_digest="t")]},
            "across_plans",
            "another plan.*compute single-stream: samples 't' against 's'",
        ),
    ],
)
def test_another_machine_or_plan_is_refused_or_its_costs_are_only_shown(other, leave, why):
    with pytest.raises(UsageError, match=rf"b\.json: was measured .*{why}.*--{leave.replace('_', '-')}"):
        compared(profile(), profile(**other))
    comparison = compared(profile(), profile(**other), "median>+99%", "size>+0", **{leave: True})
    assert (comparison.pairs[0].times, comparison.pairs[0].rss) == ([], None)
    assert [one.outcome for one in comparison.gates] == ["undecided", "passed"]
    assert "B: other" in drawn(comparison)


def test_looking_where_time_goes_is_no_other_plan():
    assert compared(profile(), profile(settings=Settings(dissect=True))).pairs[0].times


def test_accuracy_is_what_the_manifests_say():
    def with_subject(**changes):
        return profile(subjects=[subject(**changes)])

    same = with_subject(artifact_sha256="f")
    (gate,) = compared(same, same, "accuracy<-0").gates
    assert (gate.outcome, gate.value, gate.low, gate.high) == ("passed", 0, 0, 0)
    comparison = compared(profile(), with_subject(value=0.95, low=0.93, high=0.97), "accuracy<+0")
    assert comparison.pairs[0].difference.low == pytest.approx(1)  # 0.93 after at most 0.92
    assert comparison.gates[0].outcome == "passed"
    for other in (
        {"metric": "mAP"},
        {"n": 99},
        {"task": "other"},
        {"value": None},
        {"runtime_precision": "bf16"},
    ):
        assert compared(profile(), with_subject(**other), "accuracy<-9").gates[0].outcome == "undecided"
    about_teacher = with_subject(metric="agreement")
    comparison = compared(
        about_teacher, with_subject(metric="agreement", value=0.8, low=0.7, high=0.82), "agreement<-1"
    )
    assert comparison.pairs[0].difference is None
    assert comparison.gates[0].outcome == "failed"
    with pytest.raises(UsageError, match=r"gate agreement<-1: a\.json holds no agreement with a teacher"):
        compared(profile(), profile(), "agreement<-1")


@pytest.mark.parametrize("width", [80, 120])
def test_a_row_for_each_figure_of_each_subject_is_drawn(width):
    rows = [subject(), subject("onnx int8 on openvino with 2 threads")]
    measured = [
        each
        for row in rows
        for each in (
            blocks_of(row.name, *FLAT),
            blocks_of(row.name, *FLAT, scope="end-to-end", reasons=["busy"]),
            measurement(row.name, "cold-start", "once", [10**9] * 3, blocks=[0, 1, 2]),
        )
    ]
    one = profile(subjects=rows, measurements=measured)
    text = drawn(compared(one, one, "median>+5%"), width)
    for shown in (
        "A  a.json: toy",
        "onnx int8 on openvino with 2 threads",
        "compute single-stream",
        "1.00 ms *",
        "INVALID",
        "cold-start",
        "× 1.000",
        "inside the noise",
        "peak RSS",
        "48.0 MB",
        "1.00 kB",
        "accuracy 90.00 → 90.00",
    ):
        assert shown in text, shown
    assert "…" not in text


def test_rates_are_shown_and_times_at_two_rates_not_compared():
    def served(rate):
        one = measurement("onnx fp32", "compute", "server", [1000, 2000], rate_per_s=rate)
        return profile(measurements=[one])

    comparison = compared(served(1500.0), served(3000.0))
    assert comparison.pairs[0].times == []
    text = " ".join(drawn(comparison).split())
    assert "compute server 1,500/s 3,000/s - peak RSS" in text


def test_a_file_is_a_profile_and_a_name_after_the_sign_is_one_of_its_subjects(tmp_path):
    file = tmp_path / "p.json"
    file.write_text("{}")
    (tmp_path / "a#b.json").write_text("{}")
    assert is_profile(file)
    assert is_profile(tmp_path / "p.json#onnx fp32")
    assert is_profile(tmp_path / "a#b.json")
    assert is_profile(tmp_path / "a#b.json#x")
    assert not is_profile(tmp_path / "p.json#")
    assert not is_profile(tmp_path)
    (tmp_path / "profile.json").write_text("{}")
    assert is_profile(tmp_path)
    assert is_profile(Path(f"{tmp_path}#onnx fp32"))
    (tmp_path / "manifest.json").write_text("{}")
    assert not is_profile(tmp_path)
    assert not is_profile(tmp_path / "nowhere#x")
