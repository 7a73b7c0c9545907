"""Ticks of logarithmic axes are round and spread over the whole axis."""

import pytest

from compactor_runtimes.report.draw.charts import _log_ticks


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.9, 1100.0, [1, 10, 100, 1000]),
        (9.0, 60.0, [10, 20, 50]),
        (870.0, 1840.0, [1000, 1200, 1400, 1600, 1800]),  # where no series of a decade gives three
        (74.1e3, 98e3, [75e3, 80e3, 85e3, 90e3, 95e3]),
    ],
)
def test_ticks_are_round_and_cover_the_axis(low, high, ticks):
    assert _log_ticks(low, high) == pytest.approx(ticks)
