"""Verdicts of gates by hand: intervals of eight pairs are the smallest and the largest ratio."""

import re

import pytest
from msgspec import structs

from compactor_runtimes.compare.changes import Evidence
from compactor_runtimes.compare.comparison import Difference, Pair
from compactor_runtimes.compare.gates import parse_gate
from compactor_runtimes.compare.judge import gate_error, judge
from compactor_runtimes.errors import AccuracyGateError, PerformanceGateError
from tests.runtimes.toy_measurement import blocks_of, measurement

FLAT = (1000,) * 8
SLOWER = (1030, 1040, 1050, 1060, 1070, 1080, 1090, 1100)


def evidence(name, *measurements, sizes=(1000,), **changes):
    return Evidence(name=name, runs=[list(measurements)], sizes=list(sizes), **changes)


def timed(name, *blocks_us, session="s", **changes):
    return evidence(name, blocks_of("x", *blocks_us, session=session, **changes))


def judged(text, a, b, **pair):
    fields = {"difference": None, "agreement": None, "times": [], "size": None, "rss": None}
    (result,) = judge([parse_gate(text)], Pair(a="A", b="B", recommendation="", **fields | pair), a, b)
    return result


def points(value, low, high, *, paired=True):
    return Difference(points=value, low=low, high=high, n=100, mcnemar=None, verdict="noise", paired=paired)


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("median>+2%", "failed"),  # 1.03 to 1.10 lies beyond
        ("median>+5%", "undecided"),
        ("median>+11%", "passed"),
        ("p50<+11%", "failed"),
        ("median>+20us", "failed"),  # 30 to 100 µs of 1 ms
        ("median>+50us", "undecided"),
        ("median>+110us", "passed"),
    ],
)
def test_times_that_took_turns_are_judged_by_their_pairs(text, outcome):
    result = judged(text, timed("A", *FLAT), timed("B", *SLOWER))
    assert result.outcome == outcome
    scale = 1e6 if "us" in text else 1
    assert (result.low, result.high) == (pytest.approx(0.03 * scale), pytest.approx(0.10 * scale))
    assert result.low < result.value < result.high
    assert (result.confidence, result.how) == (0.99, "8 blocks that took turns")
    assert bool(result.reason) == (outcome == "undecided")


def test_two_sessions_are_judged_by_all_pairs_of_blocks():
    """Five against five: the interval of 99% is from the smallest over the largest to the opposite."""
    a, b = timed("A", 100, 101, 102, 103, 104), timed("B", 110, 111, 112, 113, 114, session="t")
    result = judged("median>+5%", a, b)
    assert (result.low, result.high) == (pytest.approx(110 / 104 - 1), pytest.approx(114 / 100 - 1))
    assert (result.outcome, result.how) == ("failed", "5 blocks, not in turns")
    assert judged("median>+6%", a, b).outcome == "undecided"


@pytest.mark.parametrize(
    ("a", "b", "why"),
    [
        (timed("A", *FLAT[:7]), timed("B", *SLOWER[:7]), "7 and 7 blocks carry no 99% interval"),
        (timed("A", *FLAT[:4]), timed("B", *SLOWER[:4], session="t"), "4 and 4 blocks carry no 99%"),
        (evidence("A"), timed("B", *SLOWER), "A holds no compute single-stream measurement: measure it"),
        (timed("A", *FLAT), timed("B", *SLOWER, reasons=["busy"]), "B, compute single-stream, is INVALID"),
        (timed("A", *FLAT), evidence("B", missing="B has none"), "B has none"),
        (timed("A", *FLAT), timed("B", *SLOWER), ""),
    ],
)  # fmt: skip
def test_what_is_missing_invalid_or_too_little_has_not_passed(a, b, why):
    result = judged("median>+99%", a, b)
    assert result.outcome == ("undecided" if why else "passed")
    assert re.search(why, result.reason)
    assert bool(result.change) == (not why)


def percentile_blocks(name, *levels, high, n=50, session="s"):
    """Blocks of `n` samples in ns: 44 of each level, the rest `high` times as long, so p90 is the rest's."""
    samples = [round(level * (high if k >= 44 else 1)) for level in levels for k in range(n)]
    blocks = [block for block in range(len(levels)) for _ in range(n)]
    return evidence(
        name, measurement("x", "compute", "single-stream", samples, blocks=blocks, session=session)
    )


def test_a_percentile_that_each_block_carries_is_compared_by_blocks():
    a = percentile_blocks("A", *[1000] * 8, high=2)
    b = percentile_blocks("B", *[1000] * 4, *[1100] * 4, high=3)
    result = judged("p90>+40%", a, b)  # 3000 or 3300 over 2000
    assert (result.low, result.high) == (pytest.approx(0.5), pytest.approx(0.65))
    assert (result.outcome, result.how) == ("failed", "p90 of each of 8 blocks that took turns")
    assert judged("median>+0%", a, percentile_blocks("B", *[1000] * 8, high=3)).outcome == "passed"


def test_a_percentile_of_small_blocks_is_compared_by_drawing_blocks_again():
    a = percentile_blocks("A", *[1000] * 8, high=2, n=20)
    b = percentile_blocks("B", *[1200] * 8, high=2, n=20)
    result = judged("p90>+10%", a, b)
    assert (result.low, result.high) == (pytest.approx(0.2), pytest.approx(0.2))
    assert (result.outcome, result.how) == ("failed", "bootstrap of 8 blocks that took turns")
    result = judged("p99>+10%", a, b)
    assert (result.outcome, result.reason) == (
        "undecided",
        "p99 needs 459 samples, and A has 160: measure longer, --profile long",
    )
    few = [percentile_blocks(letter, *[1000] * 5, high=2, n=20, session=letter) for letter in "AB"]
    assert "5 blocks that do not carry p90 each are too few, 8 needed" in judged("p90>+1%", *few).reason


def test_throughput_is_the_inverse_of_the_mean_time_and_the_worst_batch_decides():
    def side(name, small, large):
        found = [
            blocks_of("x", *[each] * 8, batch=batch, session="s") for batch, each in ((8, small), (32, large))
        ]
        return evidence(name, *(one_offline(each) for each in found))

    result = judged("throughput<-10%", side("A", 1000, 4000), side("B", 1000, 5000))
    assert (result.outcome, result.value) == ("failed", pytest.approx(4 / 5 - 1))
    assert result.how.startswith("batch of 32, 8 blocks")
    result = judged("throughput<-1000/s", side("A", 1000, 4000), side("B", 1000, 5000))
    assert result.value == pytest.approx(32 / 5e-3 - 32 / 4e-3)  # 6,400 a second after 8,000
    assert judged("throughput<-21%", side("A", 1000, 4000), side("B", 1000, 5000)).outcome == "passed"
    a = evidence("A", one_offline(blocks_of("x", *FLAT, session="s")))
    b = evidence("B", one_offline(blocks_of("x", *SLOWER, session="s")))
    result = judged("throughput<-10%", a, b)
    assert (result.low, result.high) == (pytest.approx(1 / 1.1 - 1), pytest.approx(1 / 1.03 - 1))
    assert result.outcome == "passed"


def one_offline(one):
    return structs.replace(one, scenario="offline")


def test_cpu_time_is_judged_with_the_width_of_the_wall_time():
    a = timed("A", *FLAT, cpu_ns=16_000_000)  # 16 queries: 1 ms each
    b = timed("B", *SLOWER, cpu_ns=32_000_000)
    result = judged("cpu>+50%", a, b)
    assert (result.outcome, result.value) == ("failed", pytest.approx(1))
    middle = judged("median>+0%", a, b).value + 1
    assert result.low == pytest.approx(2 * 1.03 / middle - 1)
    assert judged("cpu>+50%", timed("A", *FLAT), b).reason.startswith("the CPU time of A was not counted")


def test_memory_and_size_are_counted_and_several_runs_compared_by_their_extremes():
    a, b = timed("A", *FLAT, rss_bytes=100), timed("B", *FLAT, rss_bytes=105, pss_bytes=50)
    assert [judged(f"rss>+{limit}", a, b).outcome for limit in ("4%", "5%", "4", "5")] == [
        "failed",
        "passed",
        "failed",
        "passed",
    ]
    assert judged("pss>+1%", a, b).reason.startswith("A holds no PSS")
    busy = timed("B", *FLAT, rss_bytes=100, reasons=["busy"])
    assert judged("rss>+1%", a, busy).outcome == "undecided"
    assert "INVALID" in judged("rss>+1%", a, busy).reason
    one, two = evidence("A", sizes=[1000, 1010]), evidence("B", sizes=[1005, 1020])
    result = judged("size>+0", one, two)
    assert (result.value, result.low, result.high, result.outcome) == (7.5, -5, 20, "undecided")
    assert judged("size>+0", evidence("A"), evidence("B", sizes=[1001])).outcome == "failed"
    assert judged("size>+0", evidence("A"), evidence("B")).outcome == "passed"
    assert judged("size>+0", evidence("A", sizes=[]), evidence("B")).reason == "the size of A is not known"


def test_loading_needs_more_than_one_process_a_side():
    def side(name, warm, cold):
        return evidence(
            name,
            blocks_of("x", *FLAT, load_s=warm),
            measurement("x", "cold-start", "once", [1, 1, 1], load_s=cold),
        )

    a, b = side("A", 0.10, 0.12), side("B", 0.20, 0.18)
    result = judged("load>+40%", a, b)
    assert (result.outcome, result.low, result.high) == ("failed", pytest.approx(0.5), pytest.approx(1))
    assert judged("load>+60%", a, b).outcome == "undecided"
    assert judged("load>+1s", a, b).outcome == "passed"
    assert "B was loaded once" in judged("load>+1s", a, timed("B", *FLAT)).reason
    assert "is INVALID: busy" in judged("load>+1s", a, timed("B", *FLAT, reasons=["busy"])).reason


@pytest.mark.parametrize(
    ("difference", "outcome"),
    [((-2, -3, -1.1), "failed"), ((-2, -3, -0.9), "undecided"), ((0.2, -1, 1), "passed")],
)
def test_accuracy_and_agreement_are_judged_by_their_paired_intervals(difference, outcome):
    sides = evidence("A"), evidence("B", apart="another machine")
    for figure, known in (("accuracy", "difference"), ("agreement", "teacher_agreement")):
        result = judged(f"{figure}<-1", *sides, **{known: points(*difference)})
        assert (result.outcome, result.value) == (outcome, difference[0])
        assert (result.confidence, result.how) == (0.95, "paired, n 100")
        assert judged(f"{figure}<-1", *sides).outcome == "undecided"


def test_costs_of_another_machine_decide_nothing_but_size_does():
    a, b = timed("A", *FLAT), evidence("B", blocks_of("x", *FLAT), apart="measured elsewhere")
    for text in ("median>+99%", "rss>+99%", "load>+99%", "throughput<-99%", "cpu>+99%"):
        assert judged(text, a, b).reason == "measured elsewhere"
    assert judged("size>+0", a, b).outcome == "passed"


def test_what_has_not_passed_is_an_error_of_accuracy_before_one_of_performance():
    a, b = timed("A", *FLAT), timed("B", *SLOWER)
    fast, slow = judged("median>+50%", a, b), judged("median>+1%", a, b)
    unsure = judged("median>+5%", a, b)
    worse = judged("accuracy<-1", a, b, difference=points(-2, -3, -1.5))
    unknown = judged("accuracy<-1", a, b)
    assert gate_error([fast], allow_undecided=False) is None
    assert gate_error([], allow_undecided=False) is None
    found = gate_error([fast, slow, unsure], allow_undecided=False)
    assert isinstance(found, PerformanceGateError)
    assert str(found).startswith("2 of 3 gates not passed: median>+1% of B against A: +6.")
    assert "median>+5% of B against A" in str(found)
    assert isinstance(gate_error([slow, worse], allow_undecided=False), AccuracyGateError)
    assert isinstance(gate_error([slow, unknown], allow_undecided=False), AccuracyGateError)
    assert isinstance(gate_error([slow, unknown], allow_undecided=True), PerformanceGateError)
    assert gate_error([unsure, unknown], allow_undecided=True) is None
