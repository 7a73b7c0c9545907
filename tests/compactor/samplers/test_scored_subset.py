"""Subsets by EL2N and by forgetting: scores by hand, which samples are kept, and what is refused."""

from typing import Any

import numpy as np
import pytest

from compactor.options import checked_options
from compactor.samplers.scored_subset import Options, ScoredSubset, el2n, forgetting
from compactor.targets.forgetting import EVENTS, IDS, LEARNED, VISITS
from compactor_runtimes.errors import UsageError
from tests import toys
from tests.compactor.samplers.earlier_toys import Fixed, split

# EL2N of label 0: 0, sqrt(.02), sqrt(.5), sqrt(1.62), sqrt(2)
SAID = [[1.0, 0.0], [0.9, 0.1], [0.5, 0.5], [0.1, 0.9], [0.0, 1.0]]


def fitted(earlier: Fixed | None, labels: list[int], *, seed: int = 0, **options: Any) -> ScoredSubset:
    chosen = {"share": 0.4, "by": "el2n", "scores": "stage:a", **options}
    sampler = checked_options(Options, chosen, "here").build(toys.stage(), seed, earlier)
    sampler.fit(split(labels), None)
    return sampler


def kept(sampler: ScoredSubset) -> list[int]:
    found = sampler.positions(0, len(sampler.classes), np.random.default_rng(0)).tolist()
    assert len(found) == sampler.samples(len(sampler.classes))
    return sorted(found)


def test_el2n_by_hand() -> None:
    found = el2n(np.array(SAID), np.zeros(5, np.int64))
    assert found == pytest.approx([0, 0.02**0.5, 0.5**0.5, 1.62**0.5, 2**0.5])
    assert el2n(np.array([[0.2, 0.3, 0.5]]), np.array([2])) == pytest.approx([(0.04 + 0.09 + 0.25) ** 0.5])


def test_the_hardest_or_the_easiest_share() -> None:
    assert kept(fitted(Fixed({"stage:a": SAID}), [0] * 5)) == [3, 4]
    assert kept(fitted(Fixed({"stage:a": SAID}), [0] * 5, keep="easiest")) == [0, 1]


def test_scores_of_several_stages_are_averaged() -> None:
    """Alone, the second would keep sample 0 and 1; together sample 4 and 0 are the hardest: 1.41/2, 1.3/2."""
    other = [[0.08, 0.92], [0.5, 0.5], [0.9, 0.1], [1.0, 0.0], [1.0, 0.0]]
    sampler = fitted(Fixed({"stage:a": SAID, "stage:b": other}), [0] * 5, scores=["stage:a", "stage:b"])
    assert kept(sampler) == [0, 4]


def test_balanced_keeps_the_share_of_each_class() -> None:
    """The three hardest are of class 0; of 6 and 4, half is 3 and 2."""
    hard, easy = [0.1, 0.9], [0.9, 0.1]
    said = [hard] * 5 + [easy] + [easy, easy, [0.6, 0.4], [0.6, 0.4]]
    labels = [0] * 6 + [1] * 4  # so the last four are hard too, the very last ones less
    free = fitted(Fixed({"stage:a": said}), labels, share=0.5)
    balanced = fitted(Fixed({"stage:a": said}), labels, share=0.5, balanced=True)
    assert np.bincount(np.array(labels)[kept(balanced)]).tolist() == [3, 2]
    assert {6, 7} <= set(kept(balanced))
    assert balanced.summary() == {"kept": 5, "of": 10, "kept_of_class": [3, 2]}
    assert balanced.note() == "keeps the hardest 5 of 10 samples by el2n, 2 to 3 of a class"
    assert len(kept(free)) == 5


def test_equal_scores_are_drawn_by_the_seed() -> None:
    same = Fixed({"stage:a": [[0.5, 0.5]] * 20})
    draws = [kept(fitted(same, [0] * 20, seed=seed)) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


RECORDS = {
    IDS: np.array([2, 3, 5, 7, 9]),
    EVENTS: np.array([0, 2, 0, 1, 0]),
    LEARNED: np.array([True, True, False, True, True]),
    VISITS: np.array([4, 4, 4, 4, 3]),
}


def test_a_sample_that_was_never_learned_counts_as_infinite() -> None:
    """More than any number of events in four visits."""
    found = forgetting(RECORDS, np.array([9, 7, 5, 3, 2]), reference="stage:a")
    assert found.tolist() == [0, 1, 5, 2, 0]


def test_the_most_forgotten_are_kept_by_sample_id() -> None:
    sampler = Options(share=0.4, by="forgetting", scores="stage:a").build(
        toys.stage(), 0, Fixed(records={"stage:a": RECORDS})
    )
    sampler.fit(split([0, 0, 1, 1, 1], rows=[2, 3, 5, 7, 9]), None)
    assert kept(sampler) == [1, 2]


@pytest.mark.parametrize("records", [RECORDS, {name: values[:0] for name, values in RECORDS.items()}])
def test_samples_that_a_stage_never_visited_have_no_count(records: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"stage:a has not visited \d of 2 samples, so nobody knows"):
        forgetting(records, np.array([2, 4]), reference="stage:a")


def test_a_resumed_run_keeps_to_what_was_chosen_first() -> None:
    first = fitted(Fixed({"stage:a": SAID}), [0] * 5)
    second = fitted(Fixed({"stage:a": SAID[::-1]}), [0] * 5)
    assert kept(second) == [0, 1]
    second.load_state_dict(first.state_dict())
    assert kept(second) == kept(first) == [3, 4]


def test_samples_without_a_label_are_refused_beforehand() -> None:
    options = Options(share=0.5, by="el2n", scores="stage:a")
    with pytest.raises(UsageError, match=r"at: 2 of 3 training samples have no label, and el2n compares"):
        options.check_rows(split([0, -100, -100]), "at", smoke=False)
    options.check_rows(split([0, 1]), "at", smoke=False)


def test_without_scores_as_many_are_visited() -> None:
    """So that training can be costed before anything is scored."""
    assert len(kept(fitted(None, [0, 1] * 10))) == 8
