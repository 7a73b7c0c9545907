"""`method: dml` through the training loop: both networks learn, one is kept, and a resumed run repeats it."""

import copy
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compactor.cache.folder import CHECKPOINT, WEIGHTS
from compactor.data.spec import AugmentSpec
from compactor.methods import method_named, parse_options
from compactor.methods.dml import Options, build
from compactor.models.build import build_model, save_model
from compactor.objectives.mutual import Peer
from compactor.recipe.load import load_recipe
from compactor.recipe.spec import ModelSpec
from compactor.records import PENULTIMATE
from compactor.samplers.shuffle import Shuffle
from compactor.trainer.contracts import Preset
from compactor_runtimes.errors import InterruptedRun, UsageError
from tests import toys
from tests.compactor.trainer.test_fit import ONE_STEP, StopAt, pixels_of, same, train, weights

UDML = {"feature": {"name": "penultimate", "weight": 0.5}}


def made(**options: Any) -> tuple[Preset, Peer]:
    """The preset, and the peer that its objectives share."""
    preset = build(msgspec.convert(options, Options))
    peer = preset.objectives[1][0].peer  # type: ignore[attr-defined]
    return preset, peer


@pytest.mark.parametrize("clip", [None, 0.01])
def test_one_step_is_plain_sgd_on_both_networks(tmp_path: Path, clip: float | None) -> None:
    """Against autograd by hand, with weight decay on both, each clipped by the norm of its own gradient."""
    student = toys.classifier()
    ours = copy.deepcopy(student)
    torch.manual_seed(3)  # the stage's seed
    theirs = Peer().make(ours)
    preset, peer = made(mutual_weight=2.0, **UDML)
    stage = toys.stage(**ONE_STEP | {"weight_decay": 0.01, "lr": 0.3, "clip_norm": clip})
    result = train(tmp_path, student=student, stage=stage, preset=preset, augment=AugmentSpec(), n=25)
    labels, pixels = torch.from_numpy(toys.split(25).labels["label"]), pixels_of(25)
    hard, logs, features = [], [], []
    for net in (ours, theirs):
        feature = net.backbone.body((pixels - 0.5) / 0.5)
        logits = net.backbone.head(feature)
        hard.append(F.cross_entropy(logits, labels))
        logs.append(logits.log_softmax(-1))
        features.append(feature)
    p, q = (log.exp() for log in logs)
    mutual = 0.5 * ((p * (logs[0] - logs[1])).sum(-1) + (q * (logs[1] - logs[0])).sum(-1)).mean()
    feature_term = F.mse_loss(*features)
    (hard[0] + hard[1] + 2.0 * mutual + 0.5 * feature_term).backward()
    assert result.history[0]["terms"] == {
        "hard_ce": pytest.approx(hard[0].item(), abs=1e-6),
        "peer_hard_ce": pytest.approx(hard[1].item(), abs=1e-6),
        "mutual": pytest.approx(mutual.item(), abs=1e-6),
        "mutual_feature": pytest.approx(feature_term.item(), abs=1e-6),
    }
    for trained, expected in ((student, ours), (peer.module, theirs)):
        if clip is not None:
            assert nn.utils.clip_grad_norm_(expected.parameters(), clip) > clip
        for new, old in zip(trained.parameters(), expected.parameters(), strict=True):
            assert old.grad is not None
            assert old.grad.abs().sum() > 0
            torch.testing.assert_close(new, old - 0.3 * (old.grad + 0.01 * old))


@pytest.mark.parametrize("stop", [1, 3])
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path: Path, stop: int) -> None:
    """Bit for bit, student and peer, with dropout, momentum and augmentation."""
    stage = toys.stage(lr=0.01)

    def run(folder: str, *, stop: int = -1, seed: int = 0) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        student = toys.classifier(seed=seed, dropout=0.3)
        preset, peer = made(**UDML)
        preset = Preset(preset.objectives, StopAt(stop), Shuffle())
        train(tmp_path / folder, student=student, stage=stage, preset=preset)
        return weights(student), weights(peer.module)

    whole = run("whole")
    with pytest.raises(InterruptedRun, match=f"stopped at step {stop + 1} of 12"):
        run("parts", stop=stop)
    torch.manual_seed(999)
    resumed = run("parts", seed=5)
    assert same(whole[0], resumed[0])
    assert same(whole[1], resumed[1])
    assert not same(*whole)


def test_nothing_of_the_peer_is_kept_but_in_the_checkpoint(tmp_path: Path) -> None:
    spec = ModelSpec(model="cifar:resnet8", options={"width": 4})
    student = build_model(spec, toys.info(), base=tmp_path)
    fresh = set(student.state_dict())
    preset, peer = made(**UDML)
    train(tmp_path / "run", student=student, stage=toys.stage(epochs=1), preset=preset)
    assert set(student.state_dict()) == fresh
    own = {id(value) for value in peer.module.parameters()}
    assert not own & {id(value) for value in student.deploy().parameters()}
    save_model(student, spec, tmp_path / "model")
    from safetensors.torch import load_file

    saved = load_file(tmp_path / "model" / WEIGHTS)
    assert saved.keys() == student.backbone.state_dict().keys()
    assert all(torch.equal(value, student.backbone.state_dict()[name]) for name, value in saved.items())
    kept = torch.load(tmp_path / "run" / CHECKPOINT, weights_only=True)["training"]["train_only"]
    assert [set(one) for one in kept] == [fresh]
    assert peer.module.training


def test_both_networks_learn_and_come_closer(tmp_path: Path) -> None:
    student = toys.classifier()
    preset, peer = made()
    history = train(tmp_path, student=student, stage=toys.stage(epochs=12), preset=preset).history
    first, last = history[0]["terms"], history[-1]["terms"]
    assert all(last[name] < first[name] for name in ("hard_ce", "peer_hard_ce", "mutual"))
    with torch.no_grad():
        truth = torch.from_numpy(toys.split(26).labels["label"])
        for net in (student, peer.module):
            assert (net.eval()(pixels_of(26))["label"].argmax(-1) == truth).float().mean() > 0.9


def test_options() -> None:
    method = method_named("dml", "here")
    options = parse_options(method, {"feature": {"name": PENULTIMATE}}, "here")
    assert options == Options(feature=msgspec.convert({}, type(options.feature)))  # type: ignore[attr-defined]
    assert [weight for _, weight in build(Options()).objectives] == [1, 1, 1]
    with pytest.raises(UsageError, match=r"here\.options\.mutual_weight"):
        parse_options(method, {"mutual_weight": 0}, "here")


def test_a_feature_that_the_student_does_not_have_is_named(tmp_path: Path) -> None:
    preset, _ = made(feature={"name": "blocks5"})
    with pytest.raises(UsageError, match=r"stage toy\.options\.feature: .*'blocks5'.*it has penultimate"):
        train(tmp_path, student=toys.classifier(), stage=toys.stage(), preset=preset)


STAGE = "stages=[{id: a, method: dml, epochs: 1}]"


def test_a_student_of_trained_weights_needs_a_peer_of_trained_weights() -> None:
    load_recipe("digits", [STAGE])
    for trained in ("stages.0.init=x.safetensors", "student.weights=x.safetensors"):
        with pytest.raises(UsageError, match=r"stages\.0\.options\.peer: drawn found, but the student"):
            load_recipe("digits", [STAGE, trained])
        load_recipe("digits", [STAGE, trained, "stages.0.options.peer=copied"])


def test_stored_labels_are_refused() -> None:
    with pytest.raises(UsageError, match=r"labels: method 'dml' cannot learn from a label store"):
        load_recipe("digits", [STAGE, "stages.0.labels.crops=2"])
