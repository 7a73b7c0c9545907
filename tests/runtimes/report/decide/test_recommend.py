"""What is recommended, in which words, for each state that a run can end in."""

import msgspec
import pytest

from compactor_runtimes.bundle.manifest import Artifact, Check, ExportSpec
from compactor_runtimes.report import (
    BETTER_THAN_CHANCE,
    ERROR_RATIO,
    PairedRow,
    Report,
    Variant,
    is_ready,
    recommend,
)
from compactor_runtimes.report.draw.tiles import tiles
from tests.runtimes.compare_runs import row as compared_row
from tests.runtimes.toy_measurement import blocks_of


def row(subject, kind, value, size):
    return compared_row(subject, kind, value=value, low=value - 0.01, high=value + 0.01, n=1000, size=size)


def pair(a, b, step, difference, low, high, verdict):
    return PairedRow(
        a=a,
        b=b,
        step=step,
        difference_points=difference,
        low=low,
        high=high,
        n=1000,
        mcnemar_p=0.5,
        verdict=verdict,
    )


@pytest.fixture
def report():
    return Report(
        title="t",
        recipe="r",
        task="image-classification",
        environment={},
        accuracy=[
            row("T", "teacher", 0.95, 1_000_000),
            row("S", "student", 0.94, 110_000),
            row("onnx fp32", "artifact", 0.94, 100_000),
        ],
        paired=[
            pair("T", "S", "distillation", -1.0, -2.25, 0.25, "noise"),
            pair("S", "onnx fp32", "export fp32", 0, 0, 0, "noise"),
            pair("S", "onnx int8", "export int8", -9, -10, -8, "worse"),
        ],
        measurements=[
            blocks_of("T", 8000, 8080, provider="torch"),
            blocks_of("S", 2000, 2020, provider="torch"),
            blocks_of("onnx fp32", 1000, 1000, 1000),
            blocks_of("onnx fp32", 3000, 3000, scope="end-to-end"),
        ],
        gates=[],
        artifacts=[
            Artifact(
                name="fp32",
                spec=ExportSpec(),
                files=[],
                status="verified",
                checks=[Check(name="grid", passed=True)],
            )
        ],
        recommendation="",
        shipped="onnx fp32",
    )


def test_it_names_the_subject_its_gains_its_score_and_what_the_steps_lost(report):
    assert recommend(report) == (
        # 8040 / 2010, at least 8000 / 2020, at most 8080 / 2000; 2010 / 1000
        "Ship onnx fp32: in torch the student is 4.0 times as fast as T [4.0, 4.0] (median compute of one "
        "sample 2.01 ms against 8.04 ms, n 4 and 4, both torch on CPU), and the shipped files are 10 times "
        "smaller. ONNX Runtime CPU runs the same student 2.0 times as fast as torch [2.0, 2.0] (1.00 ms "
        "against 2.01 ms, n 6 and 4, ONNX Runtime CPU against torch on CPU): the effect of the runtime, not "
        "of a smaller model. Its accuracy is 94.00% [93.00, 95.00] on 1,000 samples. "
        "Distillation: -1.00 points [-2.25, +0.25], n 1,000, inside the noise, though a loss of up to 2.25 "
        "points cannot be ruled out. "
        "Export fp32: no answer turned from right to wrong or back (n 1,000)."
    )


def test_a_direct_comparison_with_the_teacher_stands_for_the_chain(report):
    direct = pair("T", "onnx fp32", "all steps", -1.5, -2, -1, "worse")
    text = recommend(msgspec.structs.replace(report, paired=[*report.paired, direct]))
    assert "All steps: -1.50 points [-2.00, -1.00], n 1,000, a real loss." in text
    assert "Distillation" not in text


def test_an_invalid_latency_is_said(report):
    shaky = msgspec.structs.replace(report.measurements[0], valid=False, reasons=["drift of 40%"])
    text = recommend(msgspec.structs.replace(report, measurements=[shaky, *report.measurements[1:]]))
    assert text.endswith("Nothing is said of its speed: the latency of T is INVALID: drift of 40%.")
    assert "times as fast as T" not in text


def test_what_was_not_measured_is_not_claimed(report):
    text = recommend(msgspec.structs.replace(report, measurements=[], accuracy=[], paired=[]))
    assert text == "Ship onnx fp32. Its latency was not measured."


def test_a_failed_gate_is_the_reason_to_ship_nothing(report):
    gates = [Check(name="drop", passed=False)]
    refused = Artifact(name="int8", spec=ExportSpec(), files=[], status="rejected", reason="x")
    nothing = msgspec.structs.replace(report, shipped="", gates=gates, artifacts=[refused])
    assert recommend(nothing) == "Ship nothing: gate drop failed; artifact int8 rejected (x)."
    not_yet = recommend(msgspec.structs.replace(report, gates=gates))
    assert not_yet.startswith(
        "Not yet: gate drop failed on select (). The bundle holds onnx fp32: in torch the"
    )
    assert "Ship" not in not_yet


@pytest.mark.parametrize(
    ("name", "tries"),
    [(ERROR_RATIO, "train longer or on more data"), (BETTER_THAN_CHANCE, "look at the labels")],
)
def test_a_student_that_is_not_good_enough_is_not_yet_to_be_shipped_and_what_to_try_is_said(
    report, name, tries
):
    gates = [Check(name=name, passed=False, detail="the student errs on 9 of 10 samples")]
    poor = msgspec.structs.replace(report, gates=gates)
    assert not is_ready(poor)
    assert is_ready(report)
    text = recommend(poor)
    assert text.startswith(f"Not yet: gate {name} failed on select (the student errs on 9 of 10 samples).")
    assert f"What to try: {tries}" in text
    assert "Ship" not in text


def test_the_choice_is_named_with_its_reason_and_so_is_what_was_rejected_or_not_run(report):
    choice = [
        Variant(artifact="fp32", subject="onnx fp32", decision="chosen", reason="nothing is faster"),
        Variant(artifact="fp16", subject="onnx fp16", decision="not chosen", reason="slower"),
        Variant(artifact="int8", subject="onnx int8", decision="rejected", reason="agreement 0.9"),
        Variant(artifact="trt", subject="trt", decision="not run", reason="no GPU"),
    ]
    text = recommend(msgspec.structs.replace(report, choice=choice))
    assert "Of 4 variants fp32 was chosen: nothing is faster. Its accuracy is" in text
    assert text.endswith("Rejected: int8 (agreement 0.9). Not run here: trt (no GPU).")
    assert "fp16" not in text


def test_an_overridden_artifact_is_never_recommended_quietly(report):
    artifact = msgspec.structs.replace(
        report.artifacts[0], status="overridden", reason="on purpose (failed: grid)"
    )
    shaky = msgspec.structs.replace(report, artifacts=[artifact])
    assert "OVERRIDDEN: it ships although a gate failed: on purpose (failed: grid)." in recommend(shaky)
    assert "OVERRIDDEN" in {tile.name: tile for tile in tiles(shaky)}["gates and checks"].notes
    nothing = msgspec.structs.replace(shaky, shipped="")
    assert recommend(nothing) == "Ship nothing: no artifact was chosen."


def test_a_larger_artifact_is_called_larger(report):
    bigger = [report.accuracy[0], report.accuracy[1], row("onnx fp32", "artifact", 0.94, 2_000_000)]
    assert ", and the shipped files are 2.0 times larger." in recommend(
        msgspec.structs.replace(report, accuracy=bigger)
    )


def test_without_any_time_the_size_is_all_that_is_claimed(report):
    text = recommend(msgspec.structs.replace(report, measurements=[]))
    assert text.startswith("Ship onnx fp32: the shipped files are 10 times smaller. Its accuracy is")
    assert text.endswith("Its latency was not measured.")


def test_tiles_count_checks_and_never_call_none_a_pass(report):
    shown = {tile.name: tile for tile in tiles(report)}
    assert (shown["gates and checks"].value, shown["gates and checks"].style) == ("1 of 1", "good")
    assert (shown["median latency"].value, shown["size"].value) == ("1.00 ms", "100 kB")
    assert shown["export fp32"].value == "0 points"
    bare = [msgspec.structs.replace(report.artifacts[0], checks=[])]
    none = {
        tile.name: tile for tile in tiles(msgspec.structs.replace(report, artifacts=bare, measurements=[]))
    }
    assert (none["gates and checks"].value, none["gates and checks"].style) == ("none judged", "warn")
    assert none["median latency"].value == "not measured"
    assert "speed in torch" not in none


def test_tiles_lead_with_the_speed_in_one_runtime(report):
    shown = {tile.name: tile for tile in tiles(report)}
    speed, latency = shown["speed in torch"], shown["median latency"]
    assert (speed.value, speed.style) == ("4.0× as fast", "good")
    assert speed.notes == ["student against teacher", "2.01 ms against 8.04 ms", "[4.0, 4.0]"]
    assert latency.notes == [
        "compute, one sample, n 6",
        "in ONNX Runtime CPU",
        "2.0× as fast as the student in torch",
    ]
    assert list(shown).index("speed in torch") < list(shown).index("median latency")


def test_a_tile_calls_noise_noise_and_an_invalid_time_invalid(report):
    teacher, *rest = report.measurements
    near = blocks_of("T", 1990, 2030, provider="torch")
    shown = {tile.name: tile for tile in tiles(msgspec.structs.replace(report, measurements=[near, *rest]))}
    assert (shown["speed in torch"].value, shown["speed in torch"].style) == ("1.0× as fast", "dim")
    assert "inside the noise" in shown["speed in torch"].notes
    shaky = msgspec.structs.replace(teacher, valid=False, reasons=["drift"])
    shown = {tile.name: tile for tile in tiles(msgspec.structs.replace(report, measurements=[shaky, *rest]))}
    assert (shown["speed in torch"].notes[-1], shown["speed in torch"].style) == ("INVALID: T", "warn")
    assert shown["median latency"].style == ""
