"""RS2: another share in every epoch, each sample as often as in ordinary training of as many steps."""

from pathlib import Path

import numpy as np
import pytest

from compactor.objectives.hard_ce import HardCrossEntropy
from compactor.samplers.fresh_subset import FreshSubset
from compactor.trainer.contracts import Preset, TargetPolicy
from compactor_runtimes.errors import InterruptedRun
from tests import toys
from tests.compactor.trainer.test_fit import StopAt, same, train, weights


def epochs(sampler: FreshSubset, count: int, n: int) -> list[list[int]]:
    return [sampler.positions(epoch, n, np.random.default_rng(epoch)).tolist() for epoch in range(count)]


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 1.0])
def test_in_one_over_share_epochs_every_sample_once(share: float) -> None:
    n, rounds = 40, round(1 / share)
    found = epochs(FreshSubset(share, 3), 2 * rounds, n)
    assert {len(one) for one in found} == {round(share * n)}
    first, second = sum(found[:rounds], []), sum(found[rounds:], [])
    assert sorted(first) == sorted(second) == list(range(n))
    assert first != second


def test_as_often_as_in_share_times_epochs_of_ordinary_training() -> None:
    """0.3 of 25 are 8 (7.5, to the even number): 12 epochs of 8 are 3 orders of 25 and 21 of a fourth."""
    counts = np.bincount(sum(epochs(FreshSubset(0.3, 0), 12, 25), []), minlength=25)
    assert sorted(counts.tolist()) == [3] * 4 + [4] * 21


def test_with_replacement_no_sample_twice_in_an_epoch_and_earlier_epochs_do_not_count() -> None:
    sampler = FreshSubset(0.5, 0, replacement=True)
    found = epochs(sampler, 2, 40)
    assert [len(set(one)) for one in found] == [20, 20]
    assert set(found[0]) & set(found[1])  # without replacement there is none in both
    assert found[1] == sampler.positions(1, 40, np.random.default_rng(1)).tolist()


def test_an_epoch_is_a_function_of_seed_and_number() -> None:
    """Also where the generator is another one: orders span epochs."""
    sampler, other = FreshSubset(0.3, 1), FreshSubset(0.3, 2)
    again = FreshSubset(0.3, 1).positions(7, 20, np.random.default_rng(99))
    assert epochs(sampler, 8, 20)[7] == again.tolist()
    assert epochs(other, 8, 20)[7] != again.tolist()


def test_there_are_two_at_least_and_all_at_most() -> None:
    assert FreshSubset(0.01, 0).samples(24) == 2
    assert FreshSubset(1.0, 0).samples(1) == 1


def test_the_schedule_is_compressed_and_a_stopped_training_goes_on(tmp_path: Path) -> None:
    """12 of 24 samples in batches of 8: two steps an epoch."""
    stage = toys.stage(epochs=3)
    whole, resumed = toys.classifier(dropout=0.3), toys.classifier(seed=5, dropout=0.3)

    def preset(target: TargetPolicy) -> Preset:
        return Preset([(HardCrossEntropy(), 1.0)], target, FreshSubset(0.5, 3))

    result = train(tmp_path / "whole", student=whole, stage=stage, preset=preset(TargetPolicy()), n=24)
    assert result.steps == 6
    with pytest.raises(InterruptedRun, match="of 6"):
        train(
            tmp_path / "parts",
            student=toys.classifier(dropout=0.3),
            stage=stage,
            preset=preset(StopAt(3)),
            n=24,
        )
    train(tmp_path / "parts", student=resumed, stage=stage, preset=preset(TargetPolicy()), n=24)
    assert same(weights(whole), weights(resumed))
