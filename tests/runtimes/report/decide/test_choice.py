"""Which variant is chosen among measured ones, and in which words; every time is made by hand."""

import msgspec
import pytest

from compactor_runtimes.bundle.manifest import Artifact, Check, ExportSpec, FileEntry
from compactor_runtimes.report import artifact_name, choose
from tests.runtimes.toy_measurement import measurement

FP32 = ExportSpec(required=True)
FUSED = ExportSpec(fused=True)
FP16 = ExportSpec(precision="fp16")
INT8 = ExportSpec(precision="int8", quantization="static")
ENGINE = ExportSpec(format="tensorrt-rtx", precision="fp16")


def artifact(spec, size=1000, status="verified", reason=""):
    files = [FileEntry(path=f"{spec.name}.onnx", sha256="0" * 64, bytes=size)] if size else []
    checks = [Check(name="grid", passed=status != "rejected")]
    return Artifact(name=spec.name, spec=spec, files=files, status=status, checks=checks, reason=reason)


def timed(spec, *blocks_us, **changes):
    """Three samples a block, all of the block's median."""
    subject = artifact_name(artifact(spec))
    samples = [1000 * block for block in blocks_us for _ in range(3)]
    blocks = [number for number in range(len(blocks_us)) for _ in range(3)]
    return measurement(subject, "compute", "single-stream", samples, blocks=blocks, **changes)


def chosen(artifacts, measurements):
    """Name of the chosen one, and each artifact's decision and reason."""
    choice = choose(artifacts, measurements)
    assert [one.artifact for one in choice.variants if one.decision == "chosen"] == [choice.artifact.name]
    return choice.artifact.name, {one.artifact: (one.decision, one.reason) for one in choice.variants}


def test_the_fastest_beyond_the_noise_is_chosen_with_its_gain_and_its_size():
    artifacts = [artifact(FP32, 3900), artifact(INT8, 1000)]
    measured = [timed(FP32, 180, 182, 178), timed(INT8, 100, 99, 101)]
    name, why = chosen(artifacts, measured)
    assert name == "int8-static"
    # 180 / 100 = 1.8, at least 178 / 101 = 1.76, at most 182 / 99 = 1.84
    assert why["int8-static"] == ("chosen", "1.8 times as fast as fp32 [1.8, 1.8], 3.9 times smaller")
    assert why["fp32"] == ("not chosen", "int8-static is 1.8 times as fast as fp32 [1.8, 1.8]")
    (_, int8) = choose(artifacts, measured).variants
    assert int8.against == "fp32"
    assert int8.speed == pytest.approx(1.8)
    assert (int8.speed_low, int8.speed_high) == (pytest.approx(178 / 101), pytest.approx(182 / 99))
    assert (int8.speed_verdict, int8.smaller) == ("better", pytest.approx(3.9))


def test_times_of_two_runtimes_name_both():
    there = {"provider": "TensorRT 9"}
    measured = [
        timed(FP32, 180, 182, 178),
        timed(ENGINE, 18, 18, 18, **there),
        timed(FP16, 200, 201, **there),
    ]
    _, why = chosen([artifact(FP32), artifact(ENGINE), artifact(FP16)], measured)
    both = "(TensorRT 9 against ONNX Runtime CPU)"
    assert why[ENGINE.name][1].startswith(f"10 times as fast as fp32 [9.9, 10] {both}, but an engine is code")
    assert why["fp16"][1] == f"slower than fp32 here: 1.1 times its time [1.1, 1.1] {both}"


def test_an_engine_is_never_the_default_where_anything_else_ships():
    """Ten times as fast, and yet code that is loaded by its name alone."""
    measured = [timed(FP32, 180, 182, 178), timed(ENGINE, 18, 18, 18)]
    name, why = chosen([artifact(ENGINE, 500), artifact(FP32)], measured)
    assert name == "fp32"
    decision, reason = why[ENGINE.name]
    assert decision == "not chosen"
    assert reason.endswith("but an engine is code: it is loaded by its name and with trust alone")
    assert chosen([artifact(ENGINE), artifact(FP16)], [])[0] == "fp16"
    assert chosen([artifact(ENGINE), artifact(FP32, status="rejected")], [])[0] == ENGINE.name


def test_a_slower_variant_leaves_plain_fp32_and_says_by_how_much():
    name, why = chosen(
        [artifact(FP32), artifact(FP16, 500)], [timed(FP32, 100, 101, 99), timed(FP16, 130, 131, 129)]
    )
    assert name == "fp32"
    assert why["fp32"] == ("chosen", "the simplest, and nothing that ships is faster by more than the noise")
    decision, reason = why["fp16"]
    assert decision == "not chosen"
    assert reason.startswith("slower than fp32 here: 1.3 times its time [1.3, 1.3]")


def test_overlapping_blocks_are_noise_and_the_simpler_one_stays():
    # the median of fp16 is 4% lower, but its slowest block is slower than the fastest one of fp32
    name, why = chosen([artifact(FP16), artifact(FP32)], [timed(FP32, 100, 98, 102), timed(FP16, 96, 95, 99)])
    assert name == "fp32"
    assert why["fp16"][1].startswith("no faster than fp32 by more than the noise: 0.96 times its time")


def test_among_the_faster_ones_a_simpler_one_inside_the_noise_of_the_fastest_is_taken():
    artifacts = [artifact(INT8), artifact(FP16), artifact(FUSED), artifact(FP32)]
    measured = [timed(FP32, 200, 201, 202), timed(INT8, 100, 104, 102)]
    measured += [timed(FUSED, 110, 111, 112), timed(FP16, 103, 105, 106)]
    name, why = chosen(artifacts, measured)
    assert name == "fp16"  # fused is slower than int8 beyond the noise, fp16 is not
    assert why["int8-static"][1] == (
        "2.0 times as fast as fp32 [1.9, 2.0], but not faster than fp16 by more than the noise, which is "
        "simpler"
    )
    assert why["fp32-fused"][1].endswith("[1.8, 1.8], but fp16 is faster still")


def test_a_simpler_one_that_only_the_fastest_beats_says_so():
    # fused overlaps with fp16 and fp16 with int8, but int8 is faster than fused beyond the noise
    measured = [timed(FP32, 200, 201), timed(FUSED, 110, 114), timed(FP16, 104, 112), timed(INT8, 100, 106)]
    name, why = chosen([artifact(spec) for spec in (FP32, FUSED, FP16, INT8)], measured)
    assert name == "fp16"
    assert why["fp32-fused"][1].endswith("but int8-static is faster still")


def test_one_that_is_not_faster_than_the_plain_one_is_no_stand_in_for_the_fastest():
    # fused overlaps with both; that it is as good as int8 inside the noise does not make it faster than fp32
    measured = [timed(FP32, 110, 112, 114), timed(FUSED, 100, 106, 112), timed(INT8, 99, 101, 103)]
    name, why = chosen([artifact(FP32), artifact(FUSED), artifact(INT8)], measured)
    assert name == "int8-static"
    assert why["fp32-fused"][1].startswith("no faster than fp32 by more than the noise")


def test_a_single_block_shows_nothing():
    name, _ = chosen([artifact(FP32), artifact(INT8)], [timed(FP32, 500), timed(INT8, 100)])
    assert name == "fp32"


def test_an_invalid_time_decides_nothing_for_or_against():
    shaky = {"reasons": ["block medians drift by 40%"]}
    artifacts = [artifact(FP32), artifact(INT8)]
    name, why = chosen(artifacts, [timed(FP32, 500, 501), timed(INT8, 100, 101, **shaky)])
    assert name == "fp32"
    assert why["int8-static"][1] == "its compute time is INVALID (block medians drift by 40%)"
    name, why = chosen(artifacts, [timed(FP32, 500, 501, **shaky), timed(INT8, 100, 101)])
    assert name == "fp32"
    assert why["fp32"][1] == (
        "the simplest; its compute time is INVALID (block medians drift by 40%), so nothing shows that "
        "another one is faster"
    )
    assert why["int8-static"][1] == "no valid time of fp32 to compare with"


def test_what_was_not_measured_is_not_chosen_and_other_scopes_do_not_count():
    end_to_end = msgspec.structs.replace(timed(INT8, 1, 1), scope="end-to-end")
    name, why = chosen([artifact(FP32), artifact(INT8)], [timed(FP32, 500, 501), end_to_end])
    assert name == "fp32"
    assert why["int8-static"][1] == "its compute time was not measured"
    assert chosen([artifact(INT8), artifact(FP32)], [])[0] == "fp32"


def test_rejected_and_not_run_are_told_apart_and_never_chosen():
    artifacts = [
        artifact(FP32),
        artifact(INT8, 0, "rejected", "min-agreement: 90 of 100 samples agree"),
        artifact(ENGINE, 0, "not-run", "no GPU of sm89 here"),
    ]
    name, why = chosen(artifacts, [timed(FP32, 100, 101), timed(INT8, 1, 1), timed(ENGINE, 1, 1)])
    assert name == "fp32"
    assert why == {
        "fp32": ("chosen", "the only one that ships"),
        "int8-static": ("rejected", "min-agreement: 90 of 100 samples agree"),
        "tensorrt-rtx-fp16": ("not run", "no GPU of sm89 here"),
    }


def test_without_fp32_the_simplest_that_ships_is_what_others_must_beat():
    artifacts = [artifact(INT8), artifact(FP16), artifact(FP32, 0, "rejected", "off")]
    measured = [timed(FP16, 100, 101), timed(INT8, 80, 81)]
    name, why = chosen(artifacts, measured)
    assert (name, why["int8-static"][1]) == ("int8-static", "1.2 times as fast as fp16 [1.2, 1.3]")
    assert chosen(artifacts[:2], [])[0] == "fp16"


def test_an_overridden_one_must_be_faster_and_comes_after_what_is_verified():
    fp32 = artifact(FP32, status="overridden", reason="on purpose (failed: grid)")
    assert chosen([fp32, artifact(INT8)], [timed(FP32, 100, 104), timed(INT8, 101, 103)])[0] == "int8-static"
    assert chosen([fp32, artifact(INT8)], [timed(FP32, 50, 51), timed(INT8, 101, 103)])[0] == "fp32"


def test_the_order_of_artifacts_and_measurements_decides_nothing():
    artifacts = [artifact(spec) for spec in (FP32, FUSED, FP16, INT8)]
    measured = [timed(FP32, 200, 202), timed(FUSED, 150, 160), timed(FP16, 151, 161), timed(INT8, 149, 159)]
    assert chosen(artifacts, measured) == chosen(artifacts[::-1], measured[::-1])
    assert chosen(artifacts, measured)[0] == "fp32-fused"


def test_nothing_that_ships_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="no artifact that ships"):
        choose([artifact(INT8, status="rejected")], [])
