"""`method: kd` with other losses than plain divergences: what is trained, weighed, told and refused."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from compactor.data.spec import AugmentSpec
from compactor.methods import method_named, parse_options
from compactor.methods.kd import Options, build
from compactor.methods.kd_parts import HintOptions, RkdOptions
from compactor.models.build import build_model
from compactor.objectives.correlation import BetweenClasses, WithinClass
from compactor.objectives.feature_match import Attention, Hint
from compactor.objectives.hard_ce import HardCrossEntropy
from compactor.objectives.relations import Angles, Distances
from compactor.objectives.spherical import Spherical
from compactor.objectives.with_label import OtherClasses, TargetClass, WeightedSoftLabels
from compactor.recipe.load import load_recipe
from compactor.recipe.spec import ModelSpec
from compactor.teachers import Teachers
from compactor_runtimes.errors import UsageError
from tests import toys
from tests.compactor.trainer.test_fit import train

STAGE = (
    "stages=[{id: a, method: kd, epochs: 1, teachers: [{model: 'cifar:resnet8', weights: x.safetensors}]}]"
)
FEATURES = [
    {"loss": "hint", "name": "stage2", "weight": 2.0},
    {"loss": "attention", "name": "stage3"},
    {"loss": "rkd", "distance": 25.0, "angle": 50.0},
]


def options(**given: Any) -> Options:
    found = parse_options(method_named("kd", "here"), given, "here")
    assert isinstance(found, Options)
    return found


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"divergence": "dkd"}, [(TargetClass, 0.5), (OtherClasses, 4.0)]),
        ({"divergence": "dkd", "dkd": {"alpha": 0, "beta": 2}}, [(OtherClasses, 1.0)]),
        ({"divergence": "dist", "dist": {"gamma": 2}}, [(BetweenClasses, 0.5), (WithinClass, 1.0)]),
        ({"divergence": "dist", "dist": {"beta": 0}}, [(WithinClass, 0.5)]),
        ({"divergence": "skd"}, [(Spherical, 0.5)]),
        ({"divergence": "wsl"}, [(WeightedSoftLabels, 0.5)]),
    ],
)
def test_a_divergence_may_have_two_parts_of_its_own_weights(given: Any, expected: list[Any]) -> None:
    made = build(options(soft_weight=0.5, temperature=3.0, **given)).objectives
    assert [(type(one), weight) for one, weight in made] == [*expected, (HardCrossEntropy, 0.5)]
    for one, _ in made[:-1]:
        assert getattr(one, "sharpness" if isinstance(one, Spherical) else "temperature") == 3.0


def test_the_scale_of_spherical_logits_is_an_option() -> None:
    (skd, _), *_ = build(options(divergence="skd", skd={"scale": 1.5})).objectives
    assert isinstance(skd, Spherical)
    assert (skd.scale, skd.temperature, skd.target_temperature) == (1.5, 1.0, 1.0)


def test_features_are_added_with_weights_of_their_own() -> None:
    given = options(soft_weight=1.0, features=[*FEATURES, {"loss": "rkd", "name": "stage1", "angle": 0}])
    assert given.features[0] == HintOptions(name="stage2", weight=2.0)
    assert given.features[-1] == RkdOptions(name="stage1", angle=0.0)
    _, *made = build(given).objectives
    assert [(type(one), one.ours, weight) for one, weight in made] == [  # type: ignore[attr-defined]
        (Hint, "stage2", 2.0),
        (Attention, "stage3", 1000.0),
        (Distances, "penultimate", 25.0),
        (Angles, "penultimate", 50.0),
        (Distances, "stage1", 1.0),
    ]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"dkd": {}}, "dkd has no effect with divergence kl; remove it, or set divergence to dkd"),
        ({"divergence": "dkd", "dist": {}}, "dist has no effect with divergence dkd"),
        ({"divergence": "dkd", "skd": {}}, "skd has no effect with divergence dkd"),
        ({"divergence": "dkd", "dkd": {"alpha": 0, "beta": 0}}, "alpha and beta are both 0"),
        ({"divergence": "dist", "dist": {"beta": 0, "gamma": 0}}, "beta and gamma are both 0"),
        ({"features": [{"loss": "rkd", "distance": 0, "angle": 0}]}, "distance and angle are both 0"),
        ({"features": [{"loss": "hint", "name": "a"}] * 2}, "the same loss of the same feature twice"),
        ({"features": [{"loss": "fsp", "name": "a"}]}, r"options\.features\[0\]\.loss: Invalid value 'fsp'"),
        ({"features": [{"loss": "hint"}]}, r"options\.features\[0\]: .*required field name"),
        ({"divergence": "skd", "skd": {"scale": 0}}, r"options\.skd\.scale"),
    ],
)
def test_options_without_effect_or_sense_are_refused(given: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        options(**given)


@pytest.mark.parametrize("divergence", ["dkd", "dist", "skd", "wsl"])
def test_any_number_of_labels_is_refused_by_losses_of_classes(divergence: str) -> None:
    check = method_named("kd", "here").check_task
    assert check is not None
    with pytest.raises(
        UsageError, match=rf"here\.options\.divergence: {divergence} compares one distribution"
    ):
        check(Options(divergence=divergence), "image-multi-label", "here")  # type: ignore[arg-type]
    check(Options(divergence="js"), "image-multi-label", "here")
    check(Options(divergence=divergence), "image-classification", "here")  # type: ignore[arg-type]


def test_dist_is_refused_where_words_are_answered_for() -> None:
    check = method_named("kd", "here").check_task
    assert check is not None
    for task in ("intent-slots", "token-classification", "masked-lm"):
        with pytest.raises(UsageError, match=rf"dist compares .*, task {task} answers for every token"):
            check(Options(divergence="dist"), task, "here")
        check(Options(divergence="dkd"), task, "here")


def test_a_recipe_is_checked_for_its_task() -> None:
    with pytest.raises(UsageError, match=r"stages\.0\.options\.divergence: wsl compares one distribution"):
        load_recipe("digits", [STAGE, "stages.0.options={divergence: wsl}", "task=image-multi-label"])


def test_a_label_store_has_no_features() -> None:
    given = "stages.0.options={features: [{loss: hint, name: stage2}]}"
    load_recipe("digits", [STAGE, given])
    with pytest.raises(UsageError, match=r"stages\.0\.options\.features: a label store holds what teachers"):
        load_recipe("digits", [STAGE, given, "stages.0.labels.crops=2"])


@pytest.mark.parametrize("divergence", ["dkd", "skd"])
@pytest.mark.parametrize("quantization", ["hard", "marginal-renorm"])
def test_labels_with_zeros_are_refused_where_their_logarithm_is_needed(
    divergence: str, quantization: str
) -> None:
    given = [STAGE, f"stages.0.options.divergence={divergence}", "stages.0.labels.crops=2"]
    load_recipe("digits", [*given, "stages.0.labels.quantization=marginal-smoothing"])
    with pytest.raises(UsageError, match=rf"quantization: {quantization} found, .*{divergence} is infinite"):
        load_recipe("digits", [*given, f"stages.0.labels.quantization={quantization}"])


def test_what_looks_across_a_batch_is_told() -> None:
    told = method_named("kd", "here").told
    assert told is not None
    stage = toys.stage()
    assert told(options(), stage) == []
    assert told(options(divergence="dkd", features=FEATURES[:2]), stage) == []
    lines = told(options(divergence="dist", features=FEATURES), stage)
    assert [line.partition(" ")[0] for line in lines] == ["dist", "rkd"]
    assert all("several processes those of the process's own part" in line for line in lines)


@pytest.mark.slow
def test_a_student_learns_and_keeps_no_projector(tmp_path: Path) -> None:
    """Every loss at once, on real maps of two widths; the map of the hint is trained and thrown away."""
    spec = ModelSpec(model="cifar:resnet8", options={"width": 4})
    wide = ModelSpec(model="cifar:resnet14", options={"width": 6})
    student, teacher = (
        build_model(one, toys.info(), base=tmp_path, seed=seed) for seed, one in enumerate((spec, wide))
    )
    names = set(student.state_dict())
    features = [
        {"loss": "hint", "name": "stage2"},
        {"loss": "attention", "name": "stage1", "weight": 10.0},
        {"loss": "attention", "name": "stage3", "weight": 10.0},
        {"loss": "rkd"},
    ]
    preset = build(options(divergence="dkd", temperature=1.0, features=features))
    hint = next(one for one, _ in preset.objectives if isinstance(one, Hint))
    history = train(
        tmp_path,
        student=student,
        stage=toys.stage(epochs=6, batch_size=12),
        preset=preset,
        teachers=Teachers([teacher]),
        augment=AugmentSpec(),
    ).history
    first, last = history[0]["terms"], history[-1]["terms"]
    assert first.keys() == {
        "tckd",
        "nckd",
        "hard_ce",
        "hint_stage2",
        "attention_stage1",
        "attention_stage3",
        "rkd_distance_penultimate",
        "rkd_angle_penultimate",
    }
    assert all(last[name] < first[name] for name in first.keys() - {"tckd", "hard_ce"}), (first, last)
    assert set(student.state_dict()) == names
    assert hint.regressor.weight.shape == (12, 8, 1, 1)
    assert not any(one is hint.regressor for one in student.deploy().modules())


def test_a_feature_that_a_model_does_not_have_is_named(tmp_path: Path) -> None:
    preset = build(options(features=[{"loss": "hint", "name": "stage2"}]))
    with pytest.raises(UsageError, match=r"stage toy\.options\.features: .*'stage2'.*it has penultimate"):
        train(
            tmp_path,
            student=toys.classifier(),
            stage=toys.stage(),
            preset=preset,
            teachers=Teachers([toys.classifier(1)]),
        )


def test_defaults_are_as_they_were() -> None:
    assert msgspec.to_builtins(Options()) == {
        "divergence": "kl",
        "temperature": 4.0,
        "soft_weight": 0.9,
        "dkd": None,
        "dist": None,
        "skd": None,
        "features": [],
        "average": "probabilities",
        "class_weights": "none",
        "head_weights": {},
    }
    assert torch.is_grad_enabled()
