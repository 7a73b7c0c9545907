"""FIRST's recalibration: golden values, how c is chosen, and what a store has to hold for it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from compactor.data.image_loader import eval_batches
from compactor.data.splits import Split
from compactor.label_store.header import Payload
from compactor.label_store.store import LabelStore
from compactor.records import IGNORE, Batch, Outputs, Soft, Step
from compactor.targets.recalibrated import Recalibrated, best_c, largest, place_of, recalibrate
from compactor.targets.stored import StoredLabels
from compactor.teachers import Teachers
from compactor_runtimes.errors import UsageError
from compactor_runtimes.stats.metrics import ece
from tests.compactor import label_toys

P = [0.7, 0.1, 0.08, 0.05, 0.02]
AT = Step(0, 1, 0, 1)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> LabelStore:
    return label_toys.store(tmp_path_factory.mktemp("labels") / "top", label_toys.header())


def stored(store: LabelStore, c: float | None = None, k: int = 5, select: bool = True) -> Recalibrated:
    return Recalibrated.from_store(store.train, store.parts["select"] if select else None, seed=3, k=k, c=c)


def select() -> Iterator[Batch]:
    return eval_batches(label_toys.splits()["select"], 4)


def test_golden_values() -> None:
    """A head of .7 stays near .67 with c .3, flattens to .32 with 1, sharpens to .99 with .1."""
    expected = [0.675603, 0.091433, 0.085536, 0.077396, 0.070031]
    torch.testing.assert_close(recalibrate(torch.tensor(P), 0.3), torch.tensor(expected), atol=1e-6, rtol=0)
    assert recalibrate(torch.tensor(P), 1.0)[0].item() == pytest.approx(0.32, abs=5e-3)
    assert recalibrate(torch.tensor(P), 0.1)[0].item() == pytest.approx(0.99, abs=5e-3)


def test_it_is_of_probabilities_sums_to_one_and_keeps_the_order() -> None:
    p = torch.tensor(P)
    for c in (0.02, 0.3, 1.0):
        found = recalibrate(p, c)
        assert found.sum().item() == pytest.approx(1, abs=1e-6)
        assert (found.diff() <= 0).all()
        by_hand = (p / c).exp() / (p / c).exp().sum()
        torch.testing.assert_close(found, by_hand)


def test_places_of_labels_among_the_k_classes() -> None:
    ids = torch.tensor([[4, 2, 0], [1, 3, 2]])
    assert place_of(torch.tensor([2, 0]), ids).tolist() == [1, 3]


def test_c_is_the_grid_s_best() -> None:
    """Against every c in steps of .02 around the best of .1; a label outside of the k is an error."""
    rng = np.random.default_rng(0)
    probs = np.sort(rng.dirichlet([0.3] * 5, 400), axis=1)[:, ::-1].astype(np.float32)
    places = np.where(rng.random(400) < 0.6 + 0.3 * probs[:, 0], 0, rng.integers(1, 6, 400))

    def error(c: float) -> float:
        return ece(recalibrate(torch.from_numpy(probs).double(), c).numpy(), places, bins=10)

    coarse = min((round(0.1 * step, 2) for step in range(1, 11)), key=error)
    near = [round(coarse + 0.02 * step, 2) for step in range(-4, 5)]
    found = best_c(probs, places)
    assert found == min((c for c in near if 0 < c <= 1), key=error)
    assert error(found) <= error(coarse)


def test_a_teacher_that_is_always_right_is_sharpened_and_one_at_random_flattened() -> None:
    probs = np.tile(np.array(P, dtype=np.float32), (100, 1))
    assert best_c(probs, np.zeros(100, dtype=np.int64)) == pytest.approx(0.02)
    assert best_c(probs, np.arange(100) % 5) == pytest.approx(1.0)


def test_a_store_s_select_part_chooses_c(store: LabelStore) -> None:
    policy = stored(store)
    policy.choose(None, select)
    found = policy.summary()["recalibration"]["label"]
    part = store.parts["select"]
    records = part.records(part.ids, np.zeros(len(part.ids), np.int64))
    p, ids = largest(part.soft(records, "label", "marginal-smoothing", 5), 5)
    truth = torch.from_numpy(label_toys.splits()["select"].labels["label"][part.ids])
    places = place_of(truth, ids).numpy()
    assert found["c"] == best_c(p.numpy(), places)
    assert found["ece_before"] == pytest.approx(ece(p.numpy(), places, bins=10))
    after = recalibrate(p, found["c"]).numpy()
    assert found["ece_after"] == pytest.approx(ece(after, places, bins=10))
    assert f"c {found['c']:g} of 'label' chosen on select" in policy.note()


def test_targets_are_the_store_s_k_classes_recalibrated(store: LabelStore) -> None:
    policy, k = stored(store, c=0.3, k=3), 3
    batch = Batch({}, {}, torch.from_numpy(store.train.ids[:4].copy()))
    soft = policy.make(batch, None, AT).heads["label"]
    raw = StoredLabels(store.train, seed=3, quantization="marginal-smoothing", k=k).make(batch, None, AT)
    kept = raw.heads["label"]
    assert isinstance(soft, Soft)
    assert isinstance(kept, Soft)
    assert kept.p is not None
    assert soft.p is not None
    assert torch.equal(soft.ids, kept.ids)  # type: ignore[arg-type]
    torch.testing.assert_close(soft.p, recalibrate(kept.p, 0.3))
    assert not soft.tail.any()  # type: ignore[union-attr]
    assert policy.crops is not None  # views are replayed as without recalibration
    assert (policy.summary(), policy.note()) == ({"recalibration": {"c": 0.3}}, "")


def test_live_teachers_say_the_same_as_whole_labels_in_a_store(tmp_path: Path) -> None:
    whole = label_toys.store(tmp_path / "full", label_toys.header(payload=Payload(kind="full")))
    live = Recalibrated.from_teachers(k=5, c=None)
    live.choose(Teachers([label_toys.teacher()]), select)
    kept = stored(whole)
    kept.choose(None, select)
    assert live.chosen == kept.chosen
    log_p = torch.randn(2, 10, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    soft = live.make(next(select()), Outputs({}, {"label": log_p}), AT).heads["label"]
    assert isinstance(soft, Soft)
    assert soft.p is not None
    torch.testing.assert_close(soft.p, recalibrate(log_p.exp().topk(5).values, live.chosen["label"]))


def test_without_answers_on_select_or_labels_c_has_to_be_given(store: LabelStore) -> None:
    with pytest.raises(UsageError, match=r"holds no answers on select.*evaluation: true"):
        stored(store, select=False).choose(None, select)

    def unlabelled() -> Iterator[Batch]:
        split = label_toys.splits()["select"]
        labels = np.full(len(split.labels["label"]), IGNORE)
        return eval_batches(Split("select", split.inputs, {"label": labels}, split.rows, "x"), 4)

    with pytest.raises(UsageError, match=r"no select sample has a 'label' to choose it by"):
        stored(store).choose(None, unlabelled)
    stored(store, c=0.5, select=False).choose(None, select)
