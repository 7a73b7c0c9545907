"""Which of several ways is picked, by every wish and bound; numbers by hand."""

import msgspec
import pytest

from compactor_runtimes.measure.wish import Wish
from compactor_runtimes.report.decide.policy import Option, front, pick
from compactor_runtimes.stats.time_ratio import Timing


def option(name, rank, us=None, size=1000, **fields):
    """Blocks of 1% around `us`, in one session with all others."""
    blocks = [us * (0.99 + 0.01 * (index % 3)) for index in range(9)] if us else []
    timing = Timing(us, tuple(blocks), "s") if us else None
    return Option(name=name, complexity=(rank,), timing=timing, size_bytes=size, **fields)


def picked(*options, **wish):
    found = pick(options, Wish(**wish))
    assert pick(options[::-1], Wish(**wish)) == found  # their order decides nothing
    return found.option.name, found.by


FP32 = option("fp32", 0, 100, 4000, memory_bytes=90, lost_points=0.0)
SLOW_INT8 = option("int8", 2, 150, 1000, memory_bytes=60, lost_points=0.4)
FAST_INT8 = option("int8", 2, 50, 1000, memory_bytes=60, lost_points=0.4)
FP16 = option("fp16", 1, 130, 2000, memory_bytes=80, lost_points=0.1)


def test_the_faster_one_wins_and_the_slower_one_does_not():
    assert picked(FP32, FAST_INT8) == ("int8", "time")
    assert picked(FP32, SLOW_INT8) == ("fp32", "simplest")


def test_where_time_cannot_decide_a_smaller_one_is_taken():
    unknown = option("int8", 2, None, 1000)
    assert picked(option("fp32", 0, None, 4000), unknown) == ("int8", "size")
    assert picked(FP32, unknown) == ("int8", "size")
    assert picked(FP32, option("int8", 2, 100.1, 1000)) == ("int8", "size")  # inside the noise
    assert picked(FP32, option("fused", 1, None, 3900)) == ("fp32", "simplest")  # by 2.5% only


def test_what_is_shown_to_be_faster_is_not_displaced_by_what_nobody_timed():
    assert picked(FP32, FAST_INT8, option("tiny", 3, None, 10)) == ("int8", "time")


def test_what_ships_in_spite_of_a_gate_is_not_taken_for_its_size():
    assert picked(FP32, option("int8", 2, None, 1000, is_verified=False)) == ("fp32", "simplest")
    assert picked(FP32, option("int8", 2, 50, 1000, is_verified=False)) == ("int8", "time")


def test_code_is_taken_where_there_is_nothing_else():
    engine = option("engine", 9, 1, 10, is_code=True)
    assert picked(FP32, engine) == ("fp32", "simplest")
    assert picked(engine) == ("engine", "only")
    assert picked(engine, option("other engine", 10, 5, 5, is_code=True))[0] == "engine"


@pytest.mark.parametrize(
    ("by", "name"), [("size", "int8"), ("memory", "int8"), ("accuracy", "fp32"), ("latency", "fp32")]
)
def test_each_wish_takes_the_best_in_its_own_terms(by, name):
    found, decided = picked(FP32, SLOW_INT8, FP16, by=by)
    assert found == name
    assert decided == ("simplest" if by == "latency" else by)


@pytest.mark.parametrize(
    ("bound", "name", "out"),
    [
        ({"max_slower": 1.4}, "fp16", {"int8": "max_slower"}),
        ({"max_drop_points": 0.2}, "fp16", {"int8": "max_drop_points"}),
        ({"max_slower": 1.1}, "fp32", {"int8": "max_slower", "fp16": "max_slower"}),
        ({"max_memory": 1.2}, "int8", {"fp32": "max_memory", "fp16": "max_memory"}),
    ],
)
def test_bounds_on_the_rest_leave_out_what_does_not_hold_them(bound, name, out):
    found = pick([FP32, SLOW_INT8, FP16], Wish(by="size", **bound))
    assert (found.option.name, found.left_out) == (name, out)


def test_what_is_not_known_holds_no_bound():
    unknown = option("int8", 2, None, 1000)
    assert pick([FP32, unknown], Wish(by="size", max_slower=2.0)).left_out == {"int8": "max_slower"}
    assert pick([FP32, unknown], Wish(by="size", max_drop_points=1.0)).option.name == "fp32"


def test_bounds_that_nothing_holds_together_leave_the_simplest():
    wish = Wish(by="size", max_slower=1.0, max_larger=1.0)
    found = pick([FP32, SLOW_INT8], wish)
    assert found.option.name == "fp32"
    assert set(found.left_out) == {"fp32", "int8"}


def test_the_front_holds_what_nothing_beats_in_everything():
    bad = option("bad", 5, 200, 5000, memory_bytes=100)
    assert front([FP32, SLOW_INT8, bad]) == ["fp32", "int8"]
    assert front([FP32, FAST_INT8]) == ["int8"]
    assert front([option("fp32", 0, None)]) == []


def test_bounds_out_of_range_are_refused():
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"max_slower": 0.5}, Wish)
    with pytest.raises(ValueError, match="no option"):
        pick([])
