"""What a store can teach: visits and advice by hand, and what is not known."""

from pathlib import Path

import numpy as np
import pytest

from compactor.label_store.diagnosis import diagnose
from compactor.label_store.store import open_store
from compactor.label_store.visits import Visits, visits_of


@pytest.mark.parametrize(
    ("epochs", "steps", "views", "passes", "seen"),
    [
        (16, None, 1, 16, 16),
        (16, None, 4, 7, 16),  # 3 of four crops, then 4 of one
        (5, None, 4, 5, 5),  # too short for a pass of four
        (None, 100, 4, 5, 20),  # 100 steps of 20 views of 100 samples
    ],
)
def test_visits_follow_the_sampler(
    epochs: int | None, steps: int | None, views: int, passes: int, seen: int
) -> None:
    found = visits_of(epochs=epochs, steps=steps, batch_size=20, views=views, stored=8, rows=100)
    assert found == Visits(epochs=seen, passes=passes, views=views, stored=8)
    assert found.of_each_view == seen / 8


def test_what_is_not_known_is_said(whole: Path) -> None:
    """Labels of train alone say nothing of memorisation; longer trainings were not measured."""
    store = open_store(whole)
    found = diagnose(store, {"train": np.zeros(24, np.int64)}, Visits(90, 27, 4, 6))
    lines = " ".join(found.lines())
    assert found.gap is None
    assert "on select no labels there, so that nothing tells what they have memorised" in lines
    assert "several crops an image were not measured over 90 epochs: they lost to one wherever" in lines
    assert "the ground truth was not read" in " ".join(diagnose(store, {}).lines())
