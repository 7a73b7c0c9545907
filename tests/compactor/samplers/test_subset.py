"""A share of the training samples: which ones, how many of each class, and that training keeps to them."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from compactor.data.splits import Split
from compactor.objectives.hard_ce import HardCrossEntropy
from compactor.records import Batch
from compactor.samplers.subset import Subset
from compactor.trainer.contracts import Preset, TargetPolicy
from compactor_runtimes.errors import InterruptedRun
from tests import toys
from tests.compactor.trainer.test_fit import StopAt, same, train, weights


def split(labels: dict[str, NDArray[np.int64]], rows: NDArray[np.int64] | None = None) -> Split:
    n = len(next(iter(labels.values())))
    return Split(
        "train", np.zeros((n, 1, 1, 1), np.uint8), labels, np.arange(n) if rows is None else rows, "x"
    )


def fitted(share: float, data: Split, seed: int = 0) -> Subset:
    sampler = Subset(share, seed)
    sampler.fit(data, None)
    return sampler


def epoch(sampler: Subset, number: int, n: int) -> list[int]:
    return sampler.positions(number, n, np.random.default_rng(number)).tolist()


def test_each_class_and_the_unlabelled_by_their_share() -> None:
    """6 of class 0, 4 of class 1, 2 without label: half of each; the same ones again, in another order."""
    labels = np.array([0, 1, -100, 0, 1, 0, 0, 1, -100, 0, 1, 0])
    sampler = fitted(0.5, split({"label": labels}))
    assert sampler.samples(12) == 6
    first, second = epoch(sampler, 0, 12), epoch(sampler, 1, 12)
    assert Counter(labels[first].tolist()) == {0: 3, 1: 2, -100: 1}
    assert len(set(first)) == 6
    assert first != second
    assert sorted(first) == sorted(second)


def test_largest_remainders() -> None:
    """0.3 of 10 are 3; of 7 and 3 that is 2.1 and 0.9, so 2 and 1."""
    labels = np.array([0] * 7 + [1] * 3)
    assert Counter(labels[epoch(fitted(0.3, split({"label": labels})), 0, 10)].tolist()) == {0: 2, 1: 1}


def test_positions_count_the_rows_of_the_split() -> None:
    """Rows 2, 3, 5, 7 of the source have classes 1, 0, 1, 0: one position of each class, below 4."""
    labels = np.array([9, 9, 1, 0, 9, 1, 9, 0])
    data = split({"label": labels}, np.array([2, 3, 5, 7]))
    found = epoch(fitted(0.5, data), 0, 4)
    assert sorted(labels[data.rows[found]].tolist()) == [0, 1]


def test_labels_of_words_make_no_groups_but_intents_do() -> None:
    words, intents = np.arange(20).reshape(10, 2), np.array([0, 1] * 5)
    assert len(set(epoch(fitted(0.4, split({"slot": words})), 0, 10))) == 4
    both = fitted(0.4, split({"slot": words, "intent": intents}))
    assert Counter(intents[epoch(both, 0, 10)].tolist()) == {0: 2, 1: 2}


def test_the_seed_decides_and_a_whole_share_is_all() -> None:
    data = toys.split(60)
    draws = [sorted(epoch(fitted(0.5, data, seed), 0, 60)) for seed in (0, 0, 1)]
    assert draws[0] == draws[1]
    assert draws[0] != draws[2]
    assert sorted(epoch(fitted(1.0, data), 0, 60)) == list(range(60))


def test_there_are_two_at_least() -> None:
    assert fitted(0.01, toys.split(24)).samples(24) == 2


class _Seen(TargetPolicy):
    """Keep the ids of each step's samples."""

    def __init__(self) -> None:
        self.steps: list[list[int]] = []

    def transform(self, batch: Batch) -> Batch:
        self.steps.append(batch.id.tolist())
        return batch


def test_training_visits_the_subset_alone_and_is_shorter(tmp_path: Path) -> None:
    """12 of 24 samples in batches of 8: two steps an epoch, 4 of each of the three classes."""
    seen = _Seen()
    preset = Preset([(HardCrossEntropy(), 1.0)], seen, Subset(0.5, 3))
    result = train(tmp_path, student=toys.classifier(), stage=toys.stage(epochs=3), preset=preset, n=24)
    assert result.steps == 6
    assert [len(ids) for ids in seen.steps] == [8, 4] * 3
    epochs = [sorted(seen.steps[start] + seen.steps[start + 1]) for start in (0, 2, 4)]
    assert epochs[0] == epochs[1] == epochs[2]
    assert Counter(number % 3 for number in epochs[0]) == {0: 4, 1: 4, 2: 4}


@pytest.mark.parametrize("stop", [0, 3])
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path: Path, stop: int) -> None:
    stage = toys.stage(epochs=3)
    whole, resumed = toys.classifier(dropout=0.3), toys.classifier(seed=5, dropout=0.3)

    def preset(target: TargetPolicy) -> Preset:
        return Preset([(HardCrossEntropy(), 1.0)], target, Subset(0.5, 3))

    train(tmp_path / "whole", student=whole, stage=stage, preset=preset(TargetPolicy()), n=24)
    with pytest.raises(InterruptedRun, match="of 6"):
        train(
            tmp_path / "parts",
            student=toys.classifier(dropout=0.3),
            stage=stage,
            preset=preset(StopAt(stop)),
            n=24,
        )
    train(tmp_path / "parts", student=resumed, stage=stage, preset=preset(TargetPolicy()), n=24)
    assert same(weights(whole), weights(resumed))
