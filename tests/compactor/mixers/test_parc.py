"""The mixer `parc`: its score, its weights, its probes, and what it mixes."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr

from compactor.mixers import mixer_options
from compactor.mixers.averages import MeanMixer
from compactor.mixers.linear_probe import fit_probe
from compactor.mixers.parc_mixer import ParcMixer, weights_of
from compactor.mixers.parc_score import parc_score
from compactor.recipe.spec import MixerSpec
from compactor.records import Batch
from compactor.teachers import RememberedTeachers, Teachers
from compactor_runtimes.errors import UsageError
from tests import toys

FEATURES = torch.tensor(
    [[1, 0, 0], [0.9, 0.1, 0], [0, 1, 0], [0, 0.8, 0.3], [0.1, 0, 1], [0, 0.2, 0.9]], dtype=torch.float64
)
LABELS = torch.tensor([0, 0, 1, 1, 2, 2])


def mixer(**options: object) -> ParcMixer:
    return mixer_options(MixerSpec(name="parc", options=options), "stage toy").build()  # type: ignore[return-value]


def test_the_score_is_spearman_s_of_distances() -> None:
    """Within-class pairs tie. Numpy's one-hot distances are 0 in one class and 2e-16 in others, which do not.

    Taken as they are, these give .698212, which is what the ports of the score print for these rows.
    """
    low = np.tril_indices(6, -1)
    of_features = (1 - np.corrcoef(FEATURES.numpy()))[low]
    of_labels = (1 - np.corrcoef(np.eye(3)[LABELS]))[low]
    assert spearmanr(of_features, of_labels).statistic == pytest.approx(0.698212, abs=1e-6)
    exact = spearmanr(of_features.round(9), of_labels.round(9)).statistic
    assert parc_score(FEATURES, LABELS, components=None) == pytest.approx(exact, abs=1e-12)
    assert exact == pytest.approx(0.694365, abs=1e-6)


def test_the_score_of_few_components_is_that_of_projected_rows() -> None:
    rows = torch.randn(30, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.arange(30) % 3
    centred = rows - rows.mean(0)
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    signs = [vector[vector.abs().argmax()].sign() for vector in vectors.T[-4:]]
    projected = centred @ vectors[:, -4:] * torch.stack(signs)
    expected = parc_score(projected, labels, components=None)
    assert parc_score(rows, labels, components=4) == pytest.approx(expected, abs=1e-12)
    # a shift and a scale change nothing
    assert parc_score(3 * rows + 1, labels, components=4) == pytest.approx(expected, abs=1e-9)


def test_the_score_of_what_says_nothing_is_zero() -> None:
    assert parc_score(torch.ones(6, 3), LABELS, components=None) == 0
    assert parc_score(FEATURES, torch.zeros(6, dtype=torch.int64), components=None) == 0


@pytest.mark.parametrize(
    ("power", "expected"),
    [
        (0, [1 / 3, 1 / 3, 1 / 3]),
        (1, [2 / 3, 1 / 3, 0]),
        (9, [0.998051, 0.001949, 0]),
        (math.inf, [1, 0, 0]),
    ],
)
def test_weights(power: float, expected: list[float]) -> None:
    assert weights_of([0.6, 0.3, -0.1], power) == pytest.approx(expected, abs=1e-6)


def test_the_nearest_alone_and_nobody_worth_anything() -> None:
    assert weights_of([0.3, 0.6, 0.6], 1, nearest=True) == [0, 1, 0]
    assert weights_of([-0.5, 0.0], 0) == [0.5, 0.5]
    with pytest.raises(UsageError, match=r"best score is 0\.000, expected above 0\); name other teachers"):
        weights_of([-0.5, 0.0], 1)


def test_a_probe_is_at_its_minimum() -> None:
    """The gradient of the penalised loss is 0 there, in the scale of the standardised features."""
    rows = 5 * torch.randn(60, 4, generator=torch.Generator().manual_seed(0)) + 3
    rows[:, 3] = 2.0  # a feature without variance
    labels = torch.arange(60) % 3
    probe = fit_probe(rows, labels, num_classes=4, l2=0.1)  # the last class has no row
    mean, scale = rows.mean(0), rows.std(0, correction=0)
    scale[3] = 1.0
    weight = (probe.weight * scale).double().requires_grad_()
    bias = (probe.bias + probe.weight @ mean).double().requires_grad_()
    loss = F.cross_entropy(F.linear(((rows - mean) / scale).double(), weight, bias), labels)
    (loss + 0.05 * (weight.square().sum() + bias.square().sum())).backward()
    assert weight.grad is not None
    assert bias.grad is not None
    assert torch.cat([weight.grad.flatten(), bias.grad]).abs().max() < 1e-5
    assert (probe(rows)[:, 3] < probe(rows)[:, :3].max(1).values).all()


def batches(n: int = 24, size: int = 7, *, seed: int = 0, labelled: bool = True) -> Iterator[Batch]:
    split = toys.split(n, seed=seed)
    for start in range(0, n, size):
        part = slice(start, start + size)
        x = torch.from_numpy(split.inputs[part]).permute(0, 3, 1, 2).float() / 255
        labels = torch.from_numpy(split.labels["label"][part])
        y = labels if labelled else torch.full_like(labels, -100)
        yield Batch({"pixel_values": x}, {"label": y}, torch.arange(n)[part])


def fitted(models: list[torch.nn.Module], *, rows: int = 24, **options: object) -> Teachers:
    teachers = Teachers(models, mixer(**options))
    teachers.fit(toys.info(), batches(rows), batches(12, seed=1))
    return teachers


def test_power_0_with_own_heads_is_the_plain_mean() -> None:
    models = [toys.classifier(seed) for seed in (1, 2, 3)]
    (batch, *_) = batches()
    mixed, plain = fitted(models, power=0, heads="own")(batch), Teachers(models, MeanMixer())(batch)
    assert torch.equal(mixed.logits["label"], plain.logits["label"])
    assert mixed.log_probs is not None
    assert plain.log_probs is not None
    assert torch.equal(mixed.log_probs["label"], plain.log_probs["label"])


def test_answers_are_the_weighted_mean_of_the_probes() -> None:
    teachers = fitted([toys.classifier(1), toys.classifier(2)], power=2)
    mixer, (batch, *_) = teachers.mixer, batches()
    assert isinstance(mixer, ParcMixer)
    found = teachers(batch)
    heads = [
        probe(model.backbone.body((batch.x["pixel_values"] - 0.5) / 0.5))  # type: ignore[union-attr, operator]
        for probe, model in zip(mixer.probes, teachers.models, strict=True)
    ]
    expected = sum(share * one.softmax(-1) for share, one in zip(mixer.weights, heads, strict=True))
    assert found.log_probs is not None
    torch.testing.assert_close(found.log_probs["label"].exp(), expected)
    torch.testing.assert_close(
        found.logits["label"], sum(share * one for share, one in zip(mixer.weights, heads, strict=True))
    )
    assert sum(mixer.weights) == pytest.approx(1)
    told = mixer.told(["one", "other"])
    assert told[0].startswith(f"teacher one: PARC {mixer.scores[0]:.3f}, weight {mixer.weights[0]:.3f}, its")
    assert told[0].endswith(f"probe is right on {100 * mixer.accuracy[0]:.1f}% of 12 select rows")
    assert mixer.summary()["parc"]["weights"] == mixer.weights
    once = RememberedTeachers(teachers, batches())(batch)
    assert once.log_probs is not None
    torch.testing.assert_close(once.log_probs["label"], found.log_probs["label"])


def test_a_fit_is_the_same_again_and_in_any_order_of_batches() -> None:
    models = [toys.classifier(1), toys.classifier(2)]
    one, again = fitted(models), fitted(models)
    shuffled = Teachers(models, mixer())
    shuffled.fit(toys.info(), reversed(list(batches())), batches(12, seed=1))
    assert isinstance(one.mixer, ParcMixer)
    for other in (again.mixer, shuffled.mixer):
        assert isinstance(other, ParcMixer)
        assert other.scores == pytest.approx(one.mixer.scores, abs=1e-9)
        for mine, theirs in zip(one.mixer.probes, other.probes, strict=True):
            torch.testing.assert_close(mine.weight, theirs.weight, rtol=1e-4, atol=1e-5)
    assert again.mixer.weights == one.mixer.weights  # type: ignore[attr-defined]


def test_rows_are_those_of_the_smallest_keys_however_many_there_are() -> None:
    """With a limit, the rows kept do not hang on when batches are thinned out."""
    few, more = (fitted([toys.classifier(1)], rows=n, samples=5, probe_rows=5) for n in (24, 24))
    sizes = Teachers([toys.classifier(1)], mixer(samples=5, probe_rows=5))
    sizes.fit(toys.info(), batches(24, size=2), [])
    assert isinstance(few.mixer, ParcMixer)
    assert isinstance(sizes.mixer, ParcMixer)
    assert few.mixer.scores == more.mixer.scores  # type: ignore[attr-defined]
    assert sizes.mixer.scores == pytest.approx(few.mixer.scores, abs=1e-9)
    assert sizes.mixer.accuracy == []
    assert "select" not in sizes.mixer.told(["x"])[0]


def test_teachers_without_weight_are_not_asked() -> None:
    models = [toys.classifier(1), toys.classifier(2)]
    teachers = fitted(models, nearest=True)
    assert isinstance(teachers.mixer, ParcMixer)
    idle = teachers.mixer.weights.index(0.0)
    models[idle].forward = None  # type: ignore[assignment, method-assign]
    (batch, *_) = batches()
    assert teachers(batch).logits["label"].shape == (7, 3)


def test_what_cannot_be_scored_is_refused() -> None:
    teachers = Teachers([toys.classifier(1)], mixer())
    with pytest.raises(UsageError, match="scores teachers on labelled training rows, 0 of 0 classes found"):
        teachers.fit(toys.info(), batches(labelled=False), [])

    class Other(torch.nn.Module):
        def forward(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"label": pixel_values.flatten(1)[:, :3]}

    with pytest.raises(UsageError, match="mixer: compares the feature 'penultimate', which the teacher's Ot"):
        Teachers([Other()], mixer())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"nearest": True, "power": 2}, "power has no effect with nearest"),
        ({"heads": "own", "l2": 1.0}, "probe_rows and l2 are of probes"),
        ({"powr": 2}, "unknown option; did you mean 'power'"),
    ],
)
def test_options_without_effect_are_refused(options: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        mixer(**options)
