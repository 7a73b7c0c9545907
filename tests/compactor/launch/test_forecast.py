"""The simulation against cases that can be computed by hand, and its picture."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from compactor.launch.forecast import (
    Forecast,
    Piece,
    Wish,
    hours,
    plot_forecast,
    render_forecast,
    simulated,
)
from compactor_runtimes.errors import UsageError


def piece(items: int, item_s: float, spread: float = 0.0) -> Piece:
    return Piece(what="labels", items=items, item_s=item_s, read_bytes=0, written_bytes=0, spread=spread)


def test_items_without_spread_take_whole_rounds() -> None:
    for workers, rounds in ((1, 10), (2, 5), (3, 4), (10, 1), (64, 1)):
        wall = simulated([piece(10, 60.0)], workers)
        assert wall.seconds == pytest.approx(60 * rounds)
        assert wall.low == wall.high == wall.seconds
        assert wall.busy == pytest.approx(10 / (workers * rounds))


def test_a_training_is_one_item_and_no_worker_makes_it_shorter() -> None:
    pieces = [piece(8, 10.0), piece(1, 100.0)]
    assert simulated(pieces, 1).seconds == pytest.approx(180)
    assert simulated(pieces, 8).seconds == pytest.approx(110)


def test_spread_keeps_the_mean_and_makes_stragglers() -> None:
    one = simulated([piece(1000, 1.0, spread=0.5)], 1)
    assert one.seconds == pytest.approx(1000, rel=0.02)
    many = simulated([piece(100, 1.0, spread=0.5)], 100)
    assert many.seconds > 2.5  # the largest of 100 log-normal times, sigma .5: about exp(.5 * 2.5 - .125)
    assert many.seconds == pytest.approx(3.1, abs=0.4)


def test_failures_cost_what_they_must() -> None:
    """Each try fails with p: p / (1 - p) failures an item, of half an item and a restart each."""
    wall = simulated([piece(500, 60.0)], 1, failure=0.2)
    assert wall.seconds == pytest.approx(500 * (60 + 0.25 * (30 + 10)), rel=0.03)


def test_the_same_arguments_give_the_same_numbers() -> None:
    assert simulated([piece(50, 3.0, 0.3)], 4, failure=0.1) == simulated(
        [piece(50, 3.0, 0.3)], 4, failure=0.1
    )


def test_it_says_where_more_workers_stop_helping(tmp_path: Path) -> None:
    pieces = [piece(40, 90.0, 0.1), piece(1, 600.0)]
    found = Forecast(
        pieces=pieces,
        walls=[simulated(pieces, count) for count in (1, 2, 4)],
        failure=0.0,
        machine="a machine",
    )
    *_, told = render_forecast(found)
    assert "no number of workers goes below 10 min 0 s" in str(told)
    assert "without" not in str(told)
    *_, told = render_forecast(replace(found, left_out=["a", "b"]))
    assert "without the training of a, b, never timed there" in str(told)
    plot_forecast(found, tmp_path / "forecast.png")
    assert (tmp_path / "forecast.png").read_bytes().startswith(b"\x89PNG")


def test_times_are_readable() -> None:
    assert [hours(value) for value in (0.25, 42.4, 185, 25_800)] == [
        "0.25 s",
        "42 s",
        "3 min 5 s",
        "7 h 10 min",
    ]


@pytest.mark.parametrize(
    ("workers", "failure", "says"),
    [(0, 0.0, "--workers: got 0"), (2, 1.0, "--failures: got 1.0"), (2, -0.1, "-0.1")],
)
def test_wishes_out_of_range_are_refused(workers: int, failure: float, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Wish(workers, failure)
