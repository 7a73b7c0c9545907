"""What is divided by what: one runtime in the headline, two runtimes apart; every time is made by hand."""

import pytest

from compactor_runtimes.report.decide.speed import between_runtimes, in_one_runtime, speed_of
from tests.runtimes.toy_measurement import blocks_of, measurement

TORCH = {"provider": "torch", "environment": {"packages": {"torch": "2.3.4+cpu"}}}
ONNX = {"provider": "CPUExecutionProvider", "environment": {"packages": {"onnxruntime": "1.2.3"}}}
TEACHER = blocks_of("teachers (torch)", 790, 810, **TORCH)
STUDENT = blocks_of("student (torch)", 198, 202, **TORCH)
SHIPPED = blocks_of("onnx fp32", 20, 20, **ONNX)


def said(*measurements, teacher="teachers (torch)", student="student (torch)"):
    """The headline, and the sentences about two runtimes."""
    speed = speed_of(list(measurements), "onnx fp32", student=student, teacher=teacher)
    return in_one_runtime(speed, "onnx fp32"), between_runtimes(speed)


def test_student_and_teacher_in_torch_are_the_headline_and_the_change_of_runtime_is_told_apart():
    first, apart = said(TEACHER, STUDENT, SHIPPED)
    assert first == [
        "in torch the student is 4.0 times as fast as teachers (torch) [3.9, 4.1] (median compute of one "
        "sample 200 µs against 800 µs, n 4 and 4, both torch 2.3.4 CPU)"
    ]
    assert apart == [
        "ONNX Runtime CPU runs the same student 10 times as fast as torch [9.9, 10] (20.0 µs against 200 µs, "
        "n 4 and 4, ONNX Runtime 1.2.3 CPU against torch 2.3.4 CPU): the effect of the runtime, not of a "
        "smaller model."
    ]
    assert "40 times" not in " ".join(first + apart)  # 800 / 20


def test_a_teacher_in_the_shipped_runtime_is_the_headline_and_torch_stands_beside_it():
    exported = blocks_of("teachers (onnx)", 58, 62, **ONNX)
    for order in ((TEACHER, exported), (exported, TEACHER)):
        first, apart = said(*order, STUDENT, SHIPPED)
        assert first == [
            "in ONNX Runtime CPU it is 3.0 times as fast as teachers (onnx) [2.9, 3.1] (median compute of "
            "one sample 20.0 µs against 60.0 µs, n 4 and 4, both ONNX Runtime 1.2.3 CPU)"
        ]
        assert apart == [
            "One sample takes 20.0 µs with onnx fp32 and 800 µs with teachers (torch) (medians, n 4 and 4, "
            "ONNX Runtime 1.2.3 CPU against torch 2.3.4 CPU): two runtimes, which says nothing of how much "
            "faster the model is."
        ]


def test_a_teacher_of_a_bundle_is_one_in_the_shipped_runtime():
    name = "bundle:somewhere (old)/bundle"
    (first,), apart = said(blocks_of(name, 59, 61, **ONNX), STUDENT, SHIPPED, teacher=name)
    assert first.startswith(f"in ONNX Runtime CPU it is 3.0 times as fast as {name} ")
    assert apart == []


def test_bundles_that_torch_calls_are_one_runtime_and_it_is_said_who_called():
    called = blocks_of(
        "teachers (onnx)", 59, 61, **ONNX | {"provider": "CPUExecutionProvider called by torch"}
    )
    (first,), _ = said(called, STUDENT, SHIPPED, teacher="teachers (onnx)")
    assert first.endswith("ONNX Runtime 1.2.3 CPU against ONNX Runtime 1.2.3 CPU called by torch)")


@pytest.mark.parametrize("provider", ["CUDAExecutionProvider", "OpenVINO 1 on CPU", "torch and CPU"])
def test_another_provider_is_another_runtime(provider):
    teacher = blocks_of("teachers (torch)", 59, 61, provider=provider)
    first, apart = said(teacher, STUDENT, SHIPPED)
    assert first == []
    assert "One sample takes 20.0 µs with onnx fp32 and 60.0 µs with teachers (torch)" in apart[1]


def test_teachers_of_two_runtimes_are_compared_with_neither():
    both = {"provider": "torch and CPUExecutionProvider called by torch"}
    teacher = blocks_of("teachers (torch and onnx)", 59, 61, **ONNX | both)
    first, apart = said(teacher, STUDENT, SHIPPED, teacher="teachers (torch and onnx)")
    assert first == []
    assert "ONNX Runtime 1.2.3 CPU against torch and ONNX Runtime CPU called by torch" in apart[1]


def test_without_a_torch_student_both_times_are_told_and_nothing_is_divided():
    for student in ("student (torch)", None):
        first, apart = said(TEACHER, SHIPPED, student=student)
        assert first == []
        assert apart == [
            "One sample takes 20.0 µs with onnx fp32 and 800 µs with teachers (torch) (medians, n 4 and 4, "
            "ONNX Runtime 1.2.3 CPU against torch 2.3.4 CPU): two runtimes, which says nothing of how much "
            "faster the model is."
        ]


def test_without_a_teacher_only_the_change_of_runtime_is_told():
    first, apart = said(STUDENT, SHIPPED, teacher=None)
    assert first == []
    (sentence,) = apart
    assert sentence.startswith("ONNX Runtime CPU runs the same student 10 times as fast as torch")
    assert said(STUDENT, SHIPPED, teacher="teachers (label store)") == (first, apart)


def test_without_the_shipped_time_the_headline_stands():
    (first,), apart = said(TEACHER, STUDENT)
    assert first.startswith("in torch the student is 4.0 times as fast")
    assert apart == []
    assert said(TEACHER) == said() == ([], [])


def test_what_is_inside_the_noise_is_called_noise():
    near = blocks_of("teachers (torch)", 195, 215, **TORCH)
    slow = blocks_of("onnx fp32", 195, 215, **ONNX)
    (first,), (apart,) = said(near, STUDENT, slow)
    assert first.startswith(
        "in torch the student is neither faster nor slower than teachers (torch) by more than the noise: 1.0 "
        "times as fast [0.97, 1.1]"  # 195 / 202 to 215 / 198
    )
    assert "runs the same student neither faster nor slower than torch by more than the noise" in apart


def test_what_is_slower_is_called_slower():
    (first,), _ = said(blocks_of("teachers (torch)", 99, 101, **TORCH), STUDENT, SHIPPED)
    assert first.startswith(
        "in torch the student is slower than teachers (torch): 2.0 times its time [2.0, 2.0] (median"
    )


def test_other_threads_and_precisions_are_named():
    teacher = blocks_of("teachers (torch)", 790, 810, threads=4, **TORCH)
    student = blocks_of("student (torch)", 198, 202, threads=1, **TORCH)
    shipped = blocks_of("onnx fp32", 20, 20, threads=1, precision="int8", **ONNX)
    (first,), (apart,) = said(teacher, student, shipped)
    assert first.endswith("both torch 2.3.4 CPU, 1 thread against 4 threads)")
    assert apart.startswith("ONNX Runtime CPU runs the student in int8 10 times as fast as torch")
    assert apart.endswith("int8 against fp32): the effect of runtime and precision, not of a smaller model.")


def test_of_what_is_invalid_nothing_is_claimed():
    teacher = blocks_of("teachers (torch)", 790, 810, reasons=["busy"], **TORCH)
    student = blocks_of("student (torch)", 198, 202, **TORCH)
    first, apart = said(teacher, student, SHIPPED)
    assert first == []
    assert len(apart) == 1  # the student's two runtimes are valid
    assert apart[0].startswith("ONNX Runtime CPU runs the same student 10 times as fast as torch")
    shaky = blocks_of("onnx fp32", 20, 20, reasons=["busy"], **ONNX)
    first, apart = said(TEACHER, student, shaky)
    assert first[0].startswith("in torch the student is 4.0 times as fast")
    assert apart == []


def test_a_teacher_with_as_many_threads_and_of_the_same_precision_is_preferred():
    teachers = [
        blocks_of("teachers (onnx other threads)", 40, 40, threads=2, **ONNX),
        blocks_of("teachers (onnx int8)", 50, 50, precision="int8", **ONNX),
        blocks_of("teachers (onnx)", 60, 60, **ONNX),
    ]
    assert "as teachers (onnx) [" in said(*teachers, SHIPPED)[0][0]
    assert "as teachers (onnx int8) [" in said(*teachers[:2], SHIPPED)[0][0]


def test_other_scopes_scenarios_and_empty_measurements_are_not_compared():
    others = [
        blocks_of("teachers (torch)", 9, 9, scope="end-to-end", **TORCH),
        measurement("teachers (torch)", "compute", "offline", [9, 9], **TORCH),
        measurement("teachers (torch)", "compute", "single-stream", [], **TORCH),
    ]
    assert said(*others, STUDENT)[0] == []
    assert said(*others, TEACHER, STUDENT)[0][0].startswith("in torch the student is 4.0 times as fast")
