"""The rules that make a measurement INVALID."""

import pytest

from compactor_runtimes.measure.conditions import Conditions
from compactor_runtimes.measure.validity import (
    machine_reasons,
    sample_reasons,
    steadiness,
    thread_reasons,
    trend,
)


def test_steady_blocks_with_enough_samples_are_valid():
    assert sample_reasons("compute", [100] * 22 + [124] * 22, [0] * 22 + [1] * 22) == []


def test_drifting_blocks_are_named_with_their_drift_and_what_to_do():
    found = sample_reasons("compute", [100] * 22 + [130] * 22, [0] * 22 + [1] * 22)
    assert found == ["block medians differ by 30% (limit 25%): measure again on a steady machine"]


def test_of_ten_blocks_the_fastest_and_the_slowest_are_left_out():
    assert steadiness([50, *[100] * 8, 200]) == 0
    assert steadiness([50, 50, *[100] * 6, 200, 200]) == 3


def test_a_machine_that_moves_slowly_is_told_by_its_halves():
    assert trend([100, 100, 100, 100, 112, 112, 112, 112]) == pytest.approx(0.12)
    assert trend([100, 100, 112, 112]) == 0  # of few blocks two halves say little
    samples = [value for value in [100] * 4 + [112] * 4 for _ in range(3)]
    blocks = [block for block in range(8) for _ in range(3)]
    assert sample_reasons("end-to-end", samples, blocks) == [
        "block medians moved by +12% from the first half to the second (limit 10%): "
        "measure again when the machine has settled"
    ]


def test_less_than_three_samples_are_too_few():
    assert sample_reasons("compute", [100] * 2, [0, 1]) == ["2 samples (needs 3): measure longer (--profile)"]


def test_cold_starts_need_three_and_may_differ_more():
    assert sample_reasons("cold-start", [100, 140, 120], [0, 1, 2]) == []
    assert sample_reasons("cold-start", [100, 160, 120], [0, 1, 2]) == [
        "cold starts differ by 60% (limit 50%): measure again on a steady machine"
    ]
    assert sample_reasons("cold-start", [100], [0]) == ["1 cold starts (needs 3)"]


def test_more_threads_than_cores_are_named():
    assert thread_reasons(1) == thread_reasons(None) == []
    assert thread_reasons(4096)[0].startswith("4096 threads on ")


def test_a_quiet_machine_or_one_that_does_not_tell_is_fine():
    assert machine_reasons(Conditions(seconds=10, others=0.1, steal=0.02, throttled_s=0.1)) == []
    assert machine_reasons(Conditions(seconds=10)) == []


@pytest.mark.parametrize(
    ("conditions", "begins"),
    [
        (Conditions(seconds=10, others=0.63), "other processes used 63% of the CPU (limit 10%): stop them"),
        (Conditions(seconds=10, steal=0.2), "the hypervisor took 20% of the CPU (limit 2%): measure again"),
        (
            Conditions(seconds=10, throttled_s=2),
            "the CPU quota stopped the processes for 2.00 s of 10.0 s: take",
        ),
        (Conditions(seconds=10, heat_events=3), "cores were slowed for heat 3 times: cool the machine"),
    ],
)
def test_what_disturbs_is_named_with_what_to_do(conditions, begins):
    (found,) = machine_reasons(conditions)
    assert found.startswith(begins)
