"""The rungs, by hand, and who goes on."""

import pytest

from compactor.recommend.halving import Rung, rungs, survivors, total_steps
from compactor_runtimes.errors import UsageError


def test_a_third_goes_on_for_three_times_as_many_steps() -> None:
    """18, 6 and 3 settings: 18 + 3 * 6 + 9 * 3 = 63 times the first steps, and 1710 // 63 = 27."""
    found = rungs(18, 1710, full_steps=570, least=3)
    assert found == [Rung(18, 27), Rung(6, 81), Rung(3, 243)]
    assert total_steps(found, seeds=1) == 27 * 63 <= 1710


def test_seeds_share_the_budget_and_few_settings_have_one_rung() -> None:
    """4 settings, of which at least 2 stay: 4, then 2; twice (4 + 3 * 2) = 20, and 1000 // 20 = 50."""
    assert rungs(4, 1000, full_steps=10_000, seeds=2, least=2) == [Rung(4, 50), Rung(2, 150)]
    assert total_steps([Rung(4, 50), Rung(2, 150)], seeds=2) == 1000
    assert rungs(3, 300, full_steps=10_000, least=3) == [Rung(3, 100)]


def test_no_rung_is_longer_than_the_recipes_training_and_none_comes_after_it() -> None:
    """10, 4 (a third, rounded up), 2, 1: 10 + 12 + 18 + 27 = 67 and 6700 // 67 = 100."""
    assert rungs(10, 6700, full_steps=10_000, least=1)[0] == Rung(10, 100)
    assert rungs(10, 6700, full_steps=250, least=1) == [Rung(10, 100), Rung(4, 250)]
    assert rungs(10, 6700, full_steps=60, least=1) == [Rung(10, 60)]


def test_a_budget_that_tells_nothing_is_refused_with_the_one_that_does() -> None:
    with pytest.raises(
        UsageError, match=r"629 steps gives each of 18 settings 9 steps at first, .* allow 630"
    ):
        rungs(18, 629, full_steps=570, least=3)
    assert rungs(18, 630, full_steps=570, least=3)[0] == Rung(18, 10)
    assert rungs(3, 12, full_steps=4, least=3) == [Rung(3, 4)]  # the recipe itself has no more


def test_the_best_go_on_with_the_best_of_each_protected_group() -> None:
    values = [0.5, 0.9, None, 0.1, 0.2, 0.9]
    assert survivors(values, 3, protected=[]) == [0, 1, 5]
    assert survivors(values, 3, protected=[[0], [3, 4]]) == [0, 1, 4]
    assert survivors(values, 3, protected=[[2]]) == [0, 1, 5]  # failed: nothing to go on with
    assert survivors([0.5, 0.5, 0.5], 1, protected=[]) == [0]
    assert survivors([None, 0.0], 2, protected=[]) == [1]
