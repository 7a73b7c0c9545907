"""What every method and table of its parts promises: that its cache key holds all that it computes with."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from compactor.cache.code import code_closure
from compactor.methods import METHODS, method_named, parse_options
from compactor.methods.from_store import Stored
from compactor.mixers import DEFAULT_MIXER, MIXERS, mixer_options
from compactor.recipe.spec import LabelsSpec, MixerSpec
from compactor.records import Batch, Outputs
from compactor.run.plan import ALWAYS
from compactor.targets import TARGETS
from compactor.trainer.contracts import Preset, TargetPolicy
from compactor_runtimes.tables import lookup
from tests import toys
from tests.compactor import label_toys
from tests.compactor.targets.test_stored import train as train

INNER = [{"loss": "hint", "name": "stage2"}, {"loss": "attention", "name": "stage3"}, {"loss": "rkd"}]
OPTIONS: dict[str, dict[str, Any]] = {
    "supervised": {"class_weights": "balanced", "record_forgetting": True},
    "kd": {"divergence": "dist", "soft_weight": 0.5, "features": INNER},
    "fkd": {"mixing": "batch"},
    "ferkd": {},
    "meal_v2": {"hard_weight": 1.0, "discriminator": {"reduction": 2}},
    "ssld": {"hard_weight": 1.0},
    "encoder": {"hidden_weight": 1.0},
    "embedding": {"similarity_weight": 1.0},
    "dml": {"feature": {"name": "penultimate"}},
    "pld": {},
    "weight_aligning": {},
    "wad": {},
    "lelp": {"soft_weight": 0.9},
    "first": {"soft_weight": 0.5, "k": 3},
    "self_distillation": {"alpha": "auto", "roles": {"pure": 1, "ground": 2}},
    "simclr_v2": {"temperature": 2.0, "soft_weight": 0.5},
    "nd": {"kd_warmup_epochs": 2},
    "dual_head": {},
    "sla": {},
    "ps_kd": {},
}

# a mixer that answers by heads of its own says what these were fitted to
MIXER_OPTIONS: dict[str, dict[str, Any]] = {"parc": {"heads": "own", "power": 0}}


def presets(name: str, part: Any) -> Iterator[Preset]:
    """All that the method builds: on live teachers, on a label store."""
    method = method_named(name, "here")
    options = parse_options(method, OPTIONS[name], "here")
    if method.build is not None:
        yield method.build(options)
    if method.build_stored is not None:
        stage = toys.stage(method=name, options=OPTIONS[name], batch_size=12)
        yield method.build_stored(
            options, Stored(part, label_toys.splits()["train"], stage, LabelsSpec(quantization="full"), 3)
        )


@pytest.mark.parametrize("name", METHODS)
def test_all_that_a_method_computes_with_is_in_its_key(name: str, train: Any) -> None:
    method = method_named(name, "here")
    covered = code_closure([METHODS[name], *(TARGETS[target] for target in method.targets)])
    made = list(presets(name, train))
    assert made
    for preset in made:
        parts = [preset.target, preset.sampler, *(objective for objective, _ in preset.objectives)]
        assert {type(part).__module__ for part in parts} <= covered.keys()
    used = {type(preset.target) for preset in made} - {TargetPolicy}
    assert used == {lookup(TARGETS, target, "target") for target in method.targets}


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_keeps_the_contract(name: str) -> None:
    """It is a policy, and some method makes it."""
    assert issubclass(lookup(TARGETS, name, "target"), TargetPolicy)
    assert any(name in method_named(method, "here").targets for method in METHODS)


def three_rows(logits: torch.Tensor) -> list[tuple[list[Outputs], Batch]]:
    """What a mixer is fitted to: two teachers' answers and features of three rows of two classes."""
    said = Outputs({"label": logits.expand(3, -1)}, features={"penultimate": torch.eye(3)})
    return [([said, said], Batch({}, {"label": torch.tensor([0, 0, 1])}, torch.arange(3)))]


@pytest.mark.parametrize("name", MIXERS)
def test_every_mixer_gives_both_means(name: str) -> None:
    """Two teachers who say the same are as one: its logits, and their logarithmic probabilities."""
    logits = torch.tensor([[1.0, -2.0, 0.5]])
    mixer = mixer_options(MixerSpec(name=name, options=MIXER_OPTIONS.get(name, {})), "here").build()
    mixer.fit(toys.info(), three_rows(logits), [])
    mixed = mixer([Outputs({"label": logits})] * 2)
    assert mixed.log_probs is not None
    torch.testing.assert_close(mixed.logits["label"], logits)
    torch.testing.assert_close(mixed.log_probs["label"], logits.log_softmax(-1))


def test_the_mixer_is_in_every_key() -> None:
    assert MIXERS[DEFAULT_MIXER] in ALWAYS


def test_methods_that_learn_from_a_store_read_no_features(train: Any) -> None:
    """A store keeps what teachers answer; whoever compares features needs a live one."""
    for name in METHODS:
        if method_named(name, "here").build_stored is not None:
            *_, stored = presets(name, train)
            assert all(not objective.needs.teacher for objective, _ in stored.objectives)
