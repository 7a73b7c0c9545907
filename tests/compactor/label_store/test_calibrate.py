"""FerKD's calibration on two samples of four views: bins, labels, draws and report by hand (20 to 22)."""

from pathlib import Path

import numpy as np
import pytest
import torch

from compactor.label_store.calibrate import BINS, HARD, KEPT, TOO_EASY, TOO_HARD, calibrate, confidences
from compactor.label_store.header import Head, Payload, record_dtype
from compactor.label_store.store import StorePart
from compactor.label_store.thresholds import Thresholds
from compactor.records import Batch, Crops, Step, Target
from compactor.targets.calibrated import CalibratedLabels
from compactor.targets.stored import StoredLabels
from compactor_runtimes.errors import UsageError
from tests.compactor import label_toys

IDS = np.array([4, 9])
TRUTH = np.array([2, 0])
NAMES = ["a", "b", "c"]
# largest probability of each view; every number is exact in float32
LARGEST = np.array([[0.375, 0.5, 0.75, 1.0], [0.5, 0.625, 0.875, 0.75]], dtype=np.float32)
BY_VALUE = Thresholds(low=0.5, mid=0.75, top=0.875, unit="values")
AT = Step(0, 1, 0, 1)


def part(payload: Payload | None = None, largest: np.ndarray = LARGEST, positions: int = 0) -> StorePart:
    """A store's training part in memory: class 1 is always the largest, the others share the rest."""
    payload = payload or Payload(kind="full")
    header = label_toys.header(
        payload=payload,
        heads=[Head(name="label", num_classes=3, positions=positions)],
        classes={"label": NAMES},
        views=largest.shape[1],
    )
    records = np.zeros(largest.shape, dtype=record_dtype(header))
    rest = np.maximum(1 - largest, 0) / 2
    if positions:
        pass
    elif payload.kind == "full":
        records["label.p"] = np.stack([rest, largest, rest], axis=-1)
    elif payload.kind == "top-k":
        assert payload.k == 1
        records["label.ids"], records["label.p"] = 1, (1 - largest)[..., None]
    records["box"] = [0, 0, 8, 8]
    ids = IDS[: len(largest)]
    return StorePart(header, header.parts[0], ids, [records])


def test_every_view_has_one_bin_and_one_on_a_threshold_is_kept() -> None:
    """Invariant 20: strict inequalities."""
    found = calibrate(part(), IDS, TRUTH, BY_VALUE)
    assert found.bins.tolist() == [[TOO_HARD, KEPT, KEPT, TOO_EASY], [KEPT, HARD, KEPT, KEPT]]
    assert (TOO_HARD, HARD, KEPT, TOO_EASY) == (0, 1, 2, 3)
    assert BINS == ("too-hard", "hard", "kept", "too-easy")


@pytest.mark.parametrize(
    ("thresholds", "expected"),
    [
        ({}, [[2, 2, 2, 2], [2, 2, 2, 2]]),
        ({"low": 0.5}, [[0, 2, 2, 2], [2, 2, 2, 2]]),
        ({"mid": 0.625}, [[1, 1, 2, 2], [1, 2, 2, 2]]),
        ({"top": 0.75}, [[2, 2, 2, 3], [2, 2, 3, 2]]),
        ({"low": 0.75, "mid": 0.75}, [[0, 0, 2, 3], [0, 0, 3, 2]]),
        ({"low": 0.0, "mid": 0.0}, [[2, 2, 2, 2], [2, 2, 2, 2]]),
    ],
)
def test_an_absent_threshold_leaves_its_bin_empty(thresholds: dict, expected: list[list[int]]) -> None:
    top = {"top": 0.75} if thresholds.get("low") == 0.75 else {}
    found = calibrate(part(), IDS, TRUTH, Thresholds(**thresholds, **top, unit="values"))
    assert found.bins.tolist() == expected


def test_a_threshold_that_float32_does_not_hold_is_still_met_by_its_own_value() -> None:
    """0.7 as float32 is below 0.7: it is the same number to whoever typed it."""
    odd = np.full((1, 4), 0.7, dtype=np.float32)
    for name in ("low", "mid", "top"):
        store = part(Payload(kind="full"), odd)
        found = calibrate(store, IDS[:1], TRUTH[:1], Thresholds(**{name: 0.7}, unit="values"))
        assert found.bins.tolist() == [[KEPT] * 4], name


def test_quantiles_are_those_of_the_training_views() -> None:
    """Sorted: .375 .5 .5 .625 .75 .75 .875 1; quantiles q lie at place 7 q, between neighbours linearly."""
    found = calibrate(part(), IDS, TRUTH, Thresholds(low=0.25, mid=0.5, top=0.75))
    assert found.limits == {"low": 0.5, "mid": 0.6875, "top": 0.78125}
    assert found.bins.tolist() == [[TOO_HARD, KEPT, KEPT, TOO_EASY], [KEPT, HARD, TOO_EASY, KEPT]]
    # of one sample alone they are others
    alone = calibrate(part(), IDS[:1], TRUTH[:1], Thresholds(low=1 / 3))
    assert alone.limits["low"] == pytest.approx(0.5)
    assert (alone.limits["mid"], alone.limits["top"]) == (None, None)


def test_confidences_of_the_largest_class_and_of_the_ground_truth() -> None:
    """A class outside the stored head has its share of the tail; without ground truth the largest counts."""
    for payload in (Payload(kind="full"), Payload(kind="top-k", k=1, probabilities="float32")):
        store = part(payload)
        assert np.array_equal(confidences(store, IDS, TRUTH, "max"), LARGEST)
        # exp(log p) may lose two float32 units in the last place
        np.testing.assert_allclose(
            confidences(store, IDS, TRUTH, "ground-truth"), (1 - LARGEST) / 2, rtol=2.0**-22
        )
        one_unlabelled = confidences(store, IDS, np.array([-100, 1]), "ground-truth")
        np.testing.assert_allclose(one_unlabelled, LARGEST, rtol=2.0**-22)


def test_confidences_come_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    from compactor.label_store import calibrate as module

    whole = confidences(part(), IDS, TRUTH, "max")
    name = next(name for name in vars(module) if name.startswith("CHUNK_"))
    monkeypatch.setattr(module, name, 1)
    assert np.array_equal(confidences(part(), IDS, TRUTH, "max"), whole)


@pytest.mark.parametrize(
    ("payload", "positions", "says"),
    [
        (Payload(kind="hard"), 0, "keeps the largest class alone"),
        (Payload(kind="full"), 4, "token positions"),
    ],
)
def test_what_has_no_confidence_is_refused(payload: Payload, positions: int, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        calibrate(part(payload, positions=positions), IDS, TRUTH, BY_VALUE)


def test_thresholds_must_be_in_order() -> None:
    for values in ({"low": 0.5, "mid": 0.4}, {"mid": 0.9, "top": 0.8}, {"low": 0.9, "top": 0.8}):
        with pytest.raises(ValueError, match="expected low <= mid <= top"):
            Thresholds(**values)


def test_the_report_by_hand() -> None:
    """Sample 4 (class c) keeps 2 of 4 views, sample 9 (class a) all: 3 on average, one fills up to 3."""
    report = calibrate(part(), IDS, TRUTH, BY_VALUE).report(NAMES, 3)
    assert report == {
        "samples": 2,
        "views": 8,
        "limits": {"low": 0.5, "mid": 0.75, "top": 0.875},
        "shares": {"too-hard": 1 / 8, "hard": 1 / 8, "kept": 5 / 8, "too-easy": 1 / 8},
        "by_class": {
            "a": {"too-hard": 0, "hard": 1 / 4, "kept": 3 / 4, "too-easy": 0},
            "c": {"too-hard": 1 / 4, "hard": 0, "kept": 1 / 2, "too-easy": 1 / 4},
        },
        "mean_survivors": 3.0,
        "filled_up": 1,
        "ties": [],
    }


def calibrated(
    store: StorePart,
    thresholds: Thresholds,
    *,
    truth: np.ndarray = TRUTH,
    smoothing: float = 0.1,
    views: int = 2,
) -> CalibratedLabels:
    full = store.header.payload.kind == "full"
    return CalibratedLabels(
        store,
        calibrate(store, store.ids, truth[: len(store.ids)], thresholds),
        smoothing=smoothing,
        views=views,
        class_names=NAMES,
        seed=3,
        quantization="full" if full else "marginal-smoothing",
        k=1,
    )


def labels(target: StoredLabels, ids: list[int], views: list[int]) -> torch.Tensor:
    """Recovered labels [B, C] of some views, through `make` as training asks for them."""
    crop = Crops(torch.zeros(len(ids), 4), torch.zeros(len(ids), dtype=torch.bool), torch.tensor(views))
    made: Target = target.make(Batch({}, {}, torch.tensor(ids), crop), None, AT)
    return made.heads["label"].dense_log_p(3).exp()  # type: ignore[union-attr]


def test_hard_views_are_labelled_with_the_softened_truth() -> None:
    """Invariant 21: 1 - eps on the truth, eps / (C - 1) elsewhere, whatever the teacher says."""
    target = calibrated(part(), BY_VALUE)
    found = labels(target, [9, 9, 4, 4], [1, 0, 1, 2])
    torch.testing.assert_close(found[0], torch.tensor([0.9, 0.05, 0.05]))
    plain = StoredLabels(part(), seed=3, quantization="full", k=1)
    assert torch.equal(found[1:], labels(plain, [9, 9, 4, 4], [1, 0, 1, 2])[1:])
    assert found[0].argmax().item() == TRUTH[1]
    one_hot = labels(calibrated(part(), BY_VALUE, smoothing=0.0), [9], [1])
    assert one_hot.tolist() == [[1.0, 0.0, 0.0]]
    # another teacher's vector in the same bin changes nothing
    other = LARGEST.copy()
    other[1, 1] = 0.5625
    assert torch.equal(labels(calibrated(part(largest=other), BY_VALUE), [9], [1]), found[:1])


def test_too_hard_views_that_fill_up_are_labelled_as_hard_ones() -> None:
    found = labels(calibrated(part(), BY_VALUE), [4, 4], [0, 3])
    torch.testing.assert_close(found[0], torch.tensor([0.05, 0.05, 0.9]))
    assert found[1].tolist() == [0.0, 1.0, 0.0]  # too easy: the teacher's own


def test_hard_views_without_ground_truth_keep_the_teachers_label() -> None:
    found = labels(calibrated(part(), BY_VALUE, truth=np.array([2, -100])), [9, 4], [1, 0])
    assert found[0].tolist() == [0.1875, 0.625, 0.1875]
    torch.testing.assert_close(found[1], torch.tensor([0.05, 0.05, 0.9]))


def drawn(target: StoredLabels, times: int, epoch: int) -> np.ndarray:
    """Views [samples, times] of an epoch."""
    index = target.replay(np.tile(IDS, times), epoch).index
    assert index is not None
    return index.numpy().reshape(times, 2).T


def test_dropped_views_are_never_drawn_while_enough_survive() -> None:
    """Invariant 22: sample 4 has views 1 and 2 left, sample 9 all four."""
    target = calibrated(part(), BY_VALUE)
    found = np.stack([drawn(target, 2, epoch) for epoch in range(60)])
    assert {frozenset(views) for views in found[:, 0].tolist()} == {frozenset({1, 2})}
    assert set(found[:, 0, 0]) == {1, 2}  # in either order
    assert set(found[:, 1].ravel()) == {0, 1, 2, 3}


def test_dropped_views_fill_up_by_their_distance() -> None:
    """View 3 is 1 - 0.875 = 0.125 too easy, view 0 is 0.75 - 0.375 = 0.375 below mid."""
    target = calibrated(part(), BY_VALUE, views=4)
    found = np.stack([drawn(target, 4, epoch) for epoch in range(20)])
    assert {tuple(views) for views in found[:, 0, 2:].tolist()} == {(3, 0)}
    assert {frozenset(views) for views in found[:, 0, :2].tolist()} == {frozenset({1, 2})}
    assert {frozenset(views) for views in found[:, 1].tolist()} == {frozenset(range(4))}
    assert target.summary()["calibration"]["filled_up"] == 1


def test_without_mid_the_distance_counts_from_low() -> None:
    """View 0: 0.5 - 0.375 = 0.125 below; view 3: 1 - 0.9375 = 0.0625 above."""
    found = calibrate(part(), IDS, TRUTH, Thresholds(low=0.5, top=0.9375, unit="values"))
    assert found.distance[0].tolist() == [0.125, 0.0, 0.0, 0.0625]


@pytest.mark.parametrize("payload", [Payload(kind="full"), Payload(kind="top-k", k=1)])
def test_thresholds_that_drop_nothing_make_ferkd_fkd_bit_for_bit(payload: Payload) -> None:
    """Invariant 20: T_L = T_M = 0, T_T = 1: the same views and the same label tensors."""
    store = part(payload)
    reading = "full" if payload.kind == "full" else "marginal-smoothing"
    plain = StoredLabels(store, seed=3, quantization=reading, k=1)  # type: ignore[arg-type]
    same = calibrated(store, Thresholds(low=0.0, mid=0.0, top=1.0, unit="values"))
    for epoch in range(5):
        assert np.array_equal(drawn(plain, 4, epoch), drawn(same, 4, epoch))
    ids, views = [4, 9, 4], [3, 1, 0]
    records = store.records(np.array(ids), np.array(views))
    one = plain.labels(records, np.array(ids), np.array(views), "label")
    two = same.labels(records, np.array(ids), np.array(views), "label")
    for name in ("log_p", "ids", "p", "tail"):
        first, second = getattr(one, name), getattr(two, name)
        assert (first is None) == (second is None)
        assert first is None or torch.equal(first, second)


def test_a_probability_that_rounded_to_more_than_one_counts_as_one() -> None:
    """1 + 2^-23, the float32 after 1: what exp(log of the mean of certain teachers) may round to."""
    above = np.full((2, 4), np.nextafter(np.float32(1), np.float32(2)))
    assert above.max() > 1
    store = part(largest=above)
    assert confidences(store, IDS, TRUTH, "max").tolist() == [[1.0] * 4] * 2
    assert set(calibrate(store, IDS, TRUTH, Thresholds(top=1.0, unit="values")).bins.ravel()) == {KEPT}


def test_a_mean_of_certain_teachers_is_never_above_one(tmp_path: Path) -> None:
    """Of 7 teachers exp(log of the mean) rounds up or down, as the CPU does; top = 1 drops none."""
    certain = [label_toys.teacher(1, sharpness=5000.0)] * 7
    wanted = label_toys.header(payload=Payload(kind="full"))
    train = label_toys.store(tmp_path, wanted, teachers=list(certain)).train
    found = calibrate(train, train.ids, np.zeros(24, np.int64), Thresholds(top=1.0, unit="values"))
    assert set(found.bins.ravel()) == {KEPT}
    assert confidences(train, train.ids, np.zeros(24, np.int64), "max").max() <= 1


def test_a_quantile_that_ties_make_idle_is_said() -> None:
    """Ten views, six of them at 1: the quantile .8 is 1, and none lies above; .3 is .75, two lie below."""
    tied = np.array([[0.5, 0.75, 1, 1, 1], [0.5, 0.75, 1, 1, 1]], dtype=np.float32)
    store = part(largest=tied)
    found = calibrate(store, IDS, TRUTH, Thresholds(low=0.05, mid=0.3, top=0.8))
    assert found.ties == (
        "low: the quantile 0.05 is 0.5, which 20.0% of the views have, so that it drops 0.0% of them, not "
        "5.0%; to take those too, give a value above it (unit: values)",
        "top: the quantile 0.8 is 1, which 60.0% of the views have, so that it drops 0.0% of them, not 20.0%"
        "; to take those too, give a value below it (unit: values)",
    )
    assert found.report(NAMES, 2)["ties"] == list(found.ties)
    labels = CalibratedLabels(
        store, found, smoothing=0.1, views=2, class_names=NAMES, seed=0, quantization="full", k=3
    )
    assert "samples are filled up; warning: low: the quantile 0.05 is 0.5" in labels.note()
    assert calibrate(store, IDS, TRUTH, Thresholds(top=0.99, unit="values")).ties == ()
    assert calibrate(part(), IDS, TRUTH, Thresholds(low=0.2, top=0.9)).ties == ()
