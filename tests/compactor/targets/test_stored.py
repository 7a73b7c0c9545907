"""Training from stored labels: which views, whose labels, how they mix, and that it equals live teachers."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from compactor.data.image_loader import ImageLoader
from compactor.data.spec import AugmentSpec
from compactor.label_store.header import Head, Payload, record_dtype
from compactor.label_store.store import StorePart
from compactor.methods import method_named, parse_options
from compactor.methods.from_store import Stored
from compactor.models.classifier import Backbone, ImageClassifier
from compactor.recipe.spec import LabelsSpec, StageSpec
from compactor.records import LAM, PARTNER, Batch, Outputs, Soft, Step, Target
from compactor.samplers.shuffle import Shuffle
from compactor.targets import mixing
from compactor.targets.live_teacher import LiveTeacher
from compactor.targets.mixing import mix_batch, same_sample_partners
from compactor.targets.stored import StoredLabels
from compactor.teachers import Teachers
from compactor.trainer.contracts import Preset, TargetPolicy
from compactor.trainer.fit import FitResult, fit
from compactor_runtimes.errors import InterruptedRun, UsageError
from tests import toys
from tests.compactor import label_toys

AT = Step(0, 1, 0, 1)
FULL = Payload(kind="full")


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> StorePart:
    """24 samples (even numbers), 6 views, whole float32 labels of random-resized crops."""
    folder = tmp_path_factory.mktemp("labels") / "full"
    return label_toys.store(folder, label_toys.header(payload=FULL, augment=label_toys.RESIZED)).train


def labels(part: StorePart, **options: object) -> StoredLabels:
    return StoredLabels(part, **{"seed": 3, "quantization": "full", "k": 5, **options})  # type: ignore[arg-type]


def views(policy: StoredLabels, ids: NDArray[np.int64], epoch: int) -> NDArray[np.int64]:
    index = policy.replay(ids, epoch).index
    assert index is not None
    return index.numpy()


def test_views_of_a_sample_in_a_step_are_distinct(train: StorePart) -> None:
    """Invariant 15, also for all that there are, and for samples that come unequally often."""
    policy = labels(train)
    for times in (2, 4, 6):
        found = views(policy, np.tile(train.ids, times), 0).reshape(times, 24)
        assert all(len(set(column)) == times for column in found.T.tolist())
    ids = np.array([4, 2, 4, 0, 2, 4])
    found = views(policy, ids, 0)
    for sample, count in ((4, 3), (2, 2), (0, 1)):
        assert len(set(found[ids == sample].tolist())) == count


def test_views_are_drawn_evenly(train: StorePart) -> None:
    """Chi-square over 24 samples * 250 epochs, of the first view and of the ordered pair of the first two.

    5 and 29 degrees of freedom: beyond 25.7 and 66.2 lies 1 in 10,000; the seed is fixed.
    """
    policy, epochs = labels(train), 250
    found = np.stack([views(policy, np.tile(train.ids, 2), epoch).reshape(2, 24) for epoch in range(epochs)])
    first, second = found[:, 0].ravel(), found[:, 1].ravel()
    expected = 24 * epochs / 6
    assert ((np.bincount(first, minlength=6) - expected) ** 2 / expected).sum() < 25.7
    pairs = np.bincount(first * 6 + second, minlength=36).reshape(6, 6)
    assert not pairs.diagonal().any()
    expected = 24 * epochs / 30
    off = pairs[~np.eye(6, dtype=bool)]
    assert ((off - expected) ** 2 / expected).sum() < 66.2
    # and independent of the epoch before: 35 degrees of freedom, 1 in 10,000 beyond 74.9
    steps = found[:-1, 0].ravel() * 6 + found[1:, 0].ravel()
    expected = 24 * (epochs - 1) / 36
    assert ((np.bincount(steps, minlength=36) - expected) ** 2 / expected).sum() < 74.9


def test_views_depend_on_seed_epoch_and_sample_alone(train: StorePart) -> None:
    policy = labels(train)
    whole = dict(zip(train.ids.tolist(), views(policy, train.ids, 7).tolist(), strict=True))
    some = np.array([40, 2, 18])
    assert views(labels(train), some, 7).tolist() == [whole[one] for one in some.tolist()]
    first = np.array(list(whole.values()))
    assert (views(policy, train.ids, 8) != first).any()
    assert (views(labels(train, seed=4), train.ids, 7) != first).any()
    assert len(set(first.tolist())) > 1  # samples differ


def test_keys_are_uniform_in_zero_to_one(train: StorePart) -> None:
    """Dropped views of FerKD get keys from 1 on. 14,400 numbers: 5 sigma of their mean are 0.012."""
    keys = np.concatenate([labels(train).keys(train.ids, epoch) for epoch in range(100)])
    assert keys.shape == (2400, 6)
    assert keys.min() >= 0
    assert keys.max() < 1
    assert abs(keys.mean() - 0.5) < 0.012


def test_more_views_than_there_are_is_refused(train: StorePart) -> None:
    with pytest.raises(UsageError, match=r"7 views of one sample were asked for in a batch, it holds 6"):
        labels(train).replay(np.tile(train.ids[:2], 7), 0)
    with pytest.raises(UsageError, match=r"1 of 2 samples of train are missing, such as number 1"):
        labels(train).replay(np.array([0, 1]), 0)


def loader(rank: int = 0, world: int = 1, *, batch_size: int = 12) -> ImageLoader:
    return ImageLoader(
        label_toys.splits()["train"],
        batch_size=batch_size,
        augment=AugmentSpec(),
        seed=0,
        rank=rank,
        world=world,
    )


@pytest.mark.parametrize("world", [2, 3])
def test_processes_see_the_parts_of_the_same_global_batch(train: StorePart, world: int) -> None:
    policy = labels(train)
    order = np.tile(np.arange(24).reshape(4, 6), 2).ravel()  # n = 2, steps of 12
    one = list(loader().epoch(5, order, crops=policy.crops))
    many = [list(loader(rank, world).epoch(5, order, crops=policy.crops)) for rank in range(world)]
    assert len(one) == 4
    for step, batch in enumerate(one):
        parts = [batches[step] for batches in many]
        assert torch.equal(torch.cat([part.id for part in parts]), batch.id)
        assert torch.equal(torch.cat([part.x["pixel_values"] for part in parts]), batch.x["pixel_values"])
        assert batch.crop is not None
        assert batch.crop.index is not None
        index = torch.cat([part.crop.index for part in parts])  # type: ignore[union-attr, misc]
        assert torch.equal(index, batch.crop.index)
        made = [policy.make(part, None, AT).heads["label"].log_p for part in parts]  # type: ignore[union-attr]
        whole = policy.make(batch, None, AT).heads["label"].log_p  # type: ignore[union-attr]
        assert torch.equal(torch.cat(made), whole)  # type: ignore[arg-type]


def test_labels_belong_to_their_views(train: StorePart) -> None:
    """What the teacher says of the very tensor that the student sees, to float32 noise of batch shapes."""
    policy, teacher = labels(train), label_toys.teacher()
    order = np.tile(np.arange(24).reshape(4, 6), 2).ravel()
    for batch in loader().epoch(1, order, crops=policy.crops):
        soft = policy.make(batch, None, AT).heads["label"]
        with torch.no_grad():
            expected = teacher.eval()(**batch.x)["label"].softmax(-1)
        torch.testing.assert_close(soft.dense_log_p(10).exp(), expected, atol=1e-6, rtol=0)  # type: ignore[union-attr]


def test_samples_without_views_get_their_only_label() -> None:
    """Texts: nothing is replayed, and the label is found by the sample alone."""
    header = label_toys.header(payload=FULL, boxes="none", views=1, heads=[Head(name="label", num_classes=2)])
    records = np.zeros((2, 1), dtype=record_dtype(header))
    records["label.p"] = [[[0.25, 0.75]], [[1.0, 0.0]]]
    policy = labels(StorePart(header, header.parts[0], np.array([5, 8]), [records]))
    assert policy.crops is None
    made = policy.make(Batch({}, {}, torch.tensor([8, 5, 8])), None, AT).heads["label"]
    assert made.dense_log_p(2).exp().tolist() == [[1.0, 0.0], [0.25, 0.75], [1.0, 0.0]]  # type: ignore[union-attr]


def student() -> nn.Module:
    torch.manual_seed(0)
    model = toys.Mlp(num_classes=10, dropout=0.2)
    return ImageClassifier(Backbone(model, [0.5], [0.5]), toys.info(classes=label_toys.CLASSES))


def run(
    folder: Path, model: nn.Module, preset: Preset, stage: StageSpec, teachers: Teachers | None = None
) -> FitResult:
    folder.mkdir(exist_ok=True)
    return fit(
        model,
        preset,
        lambda rank, world: loader(rank, world, batch_size=stage.batch_size),
        training=stage,
        name=stage.id,
        seed=0,
        folder=folder,
        teachers=teachers,
    )


def preset_of(part: StorePart, stage: StageSpec, **labels: object) -> Preset:
    """What a stage with labels runs."""
    method = method_named(stage.method, "test")
    assert method.build_stored is not None
    split = label_toys.splits()["train"]
    spec = LabelsSpec(**{"crops": part.views, "quantization": "full", **labels})  # type: ignore[arg-type]
    return method.build_stored(
        parse_options(method, stage.options, "test"), Stored(part, split, stage, spec, 3)
    )


class _Refuses(nn.Module):
    """A teacher that must not be asked."""

    def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
        raise AssertionError("a teacher ran")


@pytest.mark.parametrize("method", ["fkd", "kd", "meal_v2"])
def test_stored_labels_train_like_live_teachers_on_the_same_views(
    train: StorePart, tmp_path: Path, method: str
) -> None:
    """Invariant 14: 8 steps of SGD with momentum and dropout; labels differ by float32 noise, 1e-7."""
    options = {
        "fkd": {"crops_per_image": 2, "temperature": 1.0},
        "kd": {"temperature": 2.0},
        "meal_v2": {"crops_per_image": 2, "discriminator": {"reduction": 2}},
    }[method]
    stage = toys.stage(method=method, options=options, epochs=4, batch_size=12, lr=0.1)
    preset = preset_of(train, stage)
    stored = student()
    first = run(tmp_path / "stored", stored, preset, stage)
    live = LiveTeacher()
    live.crops = labels(train).replay
    on_line = student()
    again = replace(preset, target=live)
    second = run(tmp_path / "live", on_line, again, stage, Teachers([label_toys.teacher()]))
    assert first.steps == second.steps == 8  # with two crops of an image: a pass of 4 and two of 2
    moved = 0.0
    for a, b, start in zip(stored.parameters(), on_line.parameters(), student().parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)
        moved = max(moved, (a - start).abs().max().item())
    assert moved > 0.05
    for one, two in zip(first.history, second.history, strict=True):
        assert one["terms"] == pytest.approx(two["terms"], abs=1e-5)


def test_gradients_of_one_step_equal_those_of_a_live_teacher(train: StorePart) -> None:
    """Invariant 14 at one batch: softmax(student) - label, over the batch; no factor T^2 (17)."""
    policy = labels(train)
    batch = next(iter(loader().epoch(0, np.arange(12), crops=policy.crops)))
    stage = toys.stage(method="fkd", options={"crops_per_image": 1, "temperature": 3.0}, batch_size=12)
    ((objective, weight),) = preset_of(train, stage).objectives
    assert weight == 1.0
    taught = Teachers([label_toys.teacher()])(batch)
    logits = torch.randn(12, 10, generator=torch.Generator().manual_seed(0), requires_grad=True)
    found = []
    for target in (policy.make(batch, None, AT), LiveTeacher().make(batch, taught, AT)):
        (term,) = objective(Outputs({"label": logits}), None, target, batch, AT).values()
        found.append(torch.autograd.grad(term.loss.mean(), logits)[0])
    torch.testing.assert_close(found[0], found[1], atol=1e-7, rtol=0)
    assert taught.log_probs is not None
    by_hand = ((logits / 3).softmax(-1) - taught.log_probs["label"].exp()) / (12 * 3)
    torch.testing.assert_close(found[0], by_hand.detach(), atol=1e-7, rtol=0)


def test_meal_v2_mixes_stored_labels_by_area_and_its_discriminator_sees_them_unmixed(
    train: StorePart,
) -> None:
    stage = toys.stage(
        method="meal_v2", options={"cutmix": True, "discriminator": {"reduction": 2}}, batch_size=12
    )
    policy = preset_of(train, stage).target
    torch.manual_seed(1)
    batch = policy.transform(next(iter(loader().epoch(0, np.arange(12), crops=policy.crops))))
    target = policy.make(batch, None, AT)
    assert target.unmixed is not None
    whole = target.unmixed["label"].dense_log_p(10).exp()
    lam, partner = batch.aux[LAM], batch.aux[PARTNER]
    assert 0 < lam[0] < 1
    stored = labels(train).make(replace(batch, aux={}), None, AT).heads["label"]
    mixed = target.heads["label"]
    assert isinstance(stored, Soft)
    assert isinstance(mixed, Soft)
    torch.testing.assert_close(whole, stored.dense_log_p(10).exp())
    expected = lam[:, None] * whole + (1 - lam[:, None]) * whole[partner]
    torch.testing.assert_close(mixed.dense_log_p(10).exp(), expected)


def test_no_teacher_is_asked(train: StorePart, tmp_path: Path) -> None:
    stage = toys.stage(method="fkd", options={"crops_per_image": 2}, epochs=2, batch_size=12)
    with pytest.raises(AssertionError, match="a teacher ran"):
        run(tmp_path / "live", student(), Preset([], LiveTeacher(), Shuffle()), stage, Teachers([_Refuses()]))
    run(tmp_path / "stored", student(), preset_of(train, stage), stage)


def test_kd_mixes_stored_labels_with_the_ground_truth(train: StorePart, tmp_path: Path) -> None:
    stage = toys.stage(method="kd", options={"soft_weight": 0.5}, epochs=1, batch_size=12)
    result = run(tmp_path, student(), preset_of(train, stage), stage)
    assert set(result.history[0]["terms"]) == {"kl", "hard_ce"}


def test_a_stage_must_fit_the_store(train: StorePart) -> None:
    for changes, says in (
        ({"options": {"crops_per_image": 7}}, "7 found, but 6 crops of each sample"),
        (
            {"options": {"crops_per_image": 5}, "batch_size": 12},
            r"12 is no multiple of crops_per_image 5; set it to 10 or 15",
        ),
        (
            {"options": {"crops_per_image": 5}, "batch_size": 3},
            r"3 is no multiple of crops_per_image 5; set it to 5$",
        ),
    ):
        with pytest.raises(UsageError, match=says):
            preset_of(train, toys.stage(method="fkd", **changes))


# SelfMix


def batch_of(ids: list[int], size: int = 8) -> Batch:
    """Each row's pixels all hold the row's number."""
    rows = torch.arange(len(ids), dtype=torch.float32).view(-1, 1, 1, 1)
    return Batch({"pixel_values": rows.expand(-1, 1, size, size).clone()}, {}, torch.tensor(ids))


IDS = [3, 5, 8, 5, 3, 5, 3, 9]


@pytest.mark.parametrize("seed", range(20))
def test_partners_are_other_views_of_the_same_sample(seed: int) -> None:
    """Invariant 23: a permutation without fixed points, but for a sample that is alone."""
    torch.manual_seed(seed)
    partner = same_sample_partners(torch.tensor(IDS))
    assert sorted(partner.tolist()) == list(range(len(IDS)))
    for row, other in enumerate(partner.tolist()):
        assert IDS[row] == IDS[other]
        assert (row == other) == (IDS.count(IDS[row]) == 1)


def test_partners_are_drawn_at_random() -> None:
    """Of 4 views each other one is a third of the time the partner: 600 draws, 5 sigma = 58."""
    torch.manual_seed(0)
    ids = torch.zeros(4, dtype=torch.int64)
    counts = np.bincount([int(same_sample_partners(ids)[0]) for _ in range(600)], minlength=4)
    assert counts[0] == 0
    assert (abs(counts[1:] - 200) < 58).all()


def modes(count: int, within_samples: bool = True) -> dict[str, list[Batch]]:
    """Mixed batches by what mixed them: pixels pasted as they are, or blended."""
    found: dict[str, list[Batch]] = {"cutmix": [], "mixup": []}
    for seed in range(count):
        torch.manual_seed(seed)
        mixed = mix_batch(batch_of(IDS, 16), within_samples=within_samples)
        pixels = mixed.x["pixel_values"]
        found["cutmix" if torch.equal(pixels, pixels.round()) else "mixup"].append(mixed)
    return found


def test_cutmix_shares_are_areas_and_mixup_shares_are_weights() -> None:
    """Invariant 18: lam = 1 - area / (H W) of the clipped box, and one box for all rows."""
    found = modes(120)
    assert 40 < len(found["cutmix"]) < 80  # switch 0.5: 5.5 sigma = 30 wide, 40 to 80
    shares = []
    for mixed in found["cutmix"]:
        partner, lam = mixed.aux[PARTNER], mixed.aux[LAM]
        for row, pixels in enumerate(mixed.x["pixel_values"][:, 0]):
            own = (pixels == row).double().mean().item()
            others = (pixels == partner[row].item()).double().mean().item()
            if partner[row] == row:
                assert own == 1
            else:
                assert own + others == 1
                assert own == pytest.approx(lam[row].item(), abs=1e-7)
        pasted = mixed.x["pixel_values"][0, 0] != 0
        rows, columns = pasted.any(1).sum(), pasted.any(0).sum()
        assert pasted.sum() == rows * columns  # a rectangle
        shares.append(lam[0].item())
    assert min(shares) < 0.4
    assert max(shares) > 0.9
    for mixed in found["mixup"]:
        partner, lam = mixed.aux[PARTNER], mixed.aux[LAM]
        own = torch.arange(len(IDS), dtype=torch.float32)
        expected = lam * own + (1 - lam) * partner
        # 16 * 2^-24 of numbers below 8
        torch.testing.assert_close(mixed.x["pixel_values"][:, 0, 3, 3], expected, atol=1e-5, rtol=0)


def test_a_box_may_be_empty_or_cover_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Invariant 18: lam 1 or an empty box leaves images and labels as they are."""
    rng = np.random.default_rng(0)
    assert mixing._box(1.0, 16, 16, rng)[0] == mixing._box(1.0, 16, 16, np.random.default_rng(0))[0]
    top, bottom, left, right = mixing._box(1.0, 16, 16, rng)
    assert (bottom - top) * (right - left) == 0
    top, bottom, left, right = mixing._box(0.0, 16, 16, rng)
    assert 0 <= top < bottom <= 16
    assert 0 <= left < right <= 16
    monkeypatch.setattr(mixing, "_box", lambda *_: (5, 5, 0, 16))
    monkeypatch.setattr(mixing, "SWITCH", 2.0)
    batch = batch_of(IDS)
    mixed = mix_batch(batch, within_samples=True)
    assert torch.equal(mixed.x["pixel_values"], batch.x["pixel_values"])
    assert mixed.aux[LAM].tolist() == [1.0] * len(IDS)


@pytest.mark.parametrize("within_samples", [True, False])
def test_one_view_of_each_sample_mixes_with_itself_alone(within_samples: bool) -> None:
    """Invariant 23: SelfMix with n = 1 is the identity, to a float32 unit of numbers below 8."""
    changed = False
    for seed in range(10):
        torch.manual_seed(seed)
        batch = batch_of(list(range(8)))
        mixed = mix_batch(batch, within_samples=within_samples)
        gap = (mixed.x["pixel_values"] - batch.x["pixel_values"]).abs().max().item()
        changed |= gap > 2.0**-21
    assert changed != within_samples


def test_an_empty_part_of_a_batch_can_be_mixed() -> None:
    """A process may get no row of a small last batch."""
    mixed = mix_batch(batch_of([]), within_samples=True)
    assert mixed.size == 0
    assert mixed.aux[PARTNER].shape == mixed.aux[LAM].shape == (0,)


def mixed_labels(train: StorePart, within: str, seed: int) -> tuple[Batch, Tensor, Tensor]:
    """A mixed batch of 6 images with 4 views each, its labels, and those of the same views unmixed."""
    policy = labels(train, mixing=within)
    order = np.tile(np.arange(6), 4)
    batch = next(iter(loader(batch_size=24).epoch(0, order, crops=policy.crops)))
    torch.manual_seed(seed)
    mixed = policy.transform(batch)
    made, plain = (
        policy.make(one, None, AT).heads["label"].dense_log_p(10).exp()  # type: ignore[union-attr]
        for one in (mixed, batch)
    )
    return mixed, made, plain


@pytest.mark.parametrize("within", ["self", "batch"])
def test_mixed_labels_sum_to_one_and_mix_as_the_pixels_do(train: StorePart, within: str) -> None:
    """Invariants 18 and 23: y' = lam y + (1 - lam) y[partner]; the mean over an image's views stays."""
    for seed in range(6):
        mixed, made, plain = mixed_labels(train, within, seed)
        lam, partner = mixed.aux[LAM].unsqueeze(1), mixed.aux[PARTNER]
        torch.testing.assert_close(made, lam * plain + (1 - lam) * plain[partner], atol=1e-6, rtol=0)
        torch.testing.assert_close(made.sum(1), torch.ones(24), atol=1e-6, rtol=0)
        means = [one.view(4, 6, 10).mean(0) for one in (made, plain)]
        if within == "self":
            torch.testing.assert_close(means[0], means[1], atol=1e-6, rtol=0)


def test_labels_that_agree_stay_as_they_are(train: StorePart) -> None:
    """Invariant 23, with a zero probability in them: 0 mixed with 0 is 0, not NaN."""
    shards = [shard.copy() for shard in train.shards]
    for shard in shards:
        shard["label.p"] = [0.0, 0.3, 0.7] + [0.0] * 7
    alike = StorePart(train.header, train.part, train.ids, shards)
    for seed in range(4):
        _, made, _ = mixed_labels(alike, "self", seed)
        torch.testing.assert_close(
            made, torch.tensor([0.0, 0.3, 0.7] + [0.0] * 7).expand(24, 10), atol=1e-6, rtol=0
        )


def test_mixing_follows_torchs_generator(train: StorePart) -> None:
    """So that a checkpoint, which keeps it, restores it."""
    first, second, third = (mixed_labels(train, "self", seed)[0].x["pixel_values"] for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


class _Stops(TargetPolicy):
    """A policy that sends this process a Ctrl-C in the middle of a step."""

    def __init__(self, inner: StoredLabels, at: int) -> None:
        self.inner, self.at, self.crops = inner, at, inner.crops

    def transform(self, batch: Batch) -> Batch:
        return self.inner.transform(batch)

    def make(self, batch: Batch, teacher: Outputs | None, step: Step) -> Target:
        if step.step == self.at:
            os.kill(os.getpid(), signal.SIGINT)
        return self.inner.make(batch, teacher, step)


@pytest.mark.parametrize("stop", [1, 3, 7])
@pytest.mark.parametrize("method", ["fkd", "ferkd"])
def test_interrupted_and_resumed_equals_uninterrupted(
    train: StorePart, tmp_path: Path, method: str, stop: int
) -> None:
    """Bit for bit, with mixing, dropout and momentum: within a pass of 2 views, between, and in the tail."""
    options = {"crops_per_image": 2, "mixing": "self"}
    if method == "ferkd":
        options["thresholds"] = {"low": 0.1, "mid": 0.4}
    stage = toys.stage(method=method, options=options, epochs=5, batch_size=12, schedule="cosine-epochs")
    whole, resumed = student(), student()
    reference = run(tmp_path / "whole", whole, preset_of(train, stage), stage)
    assert reference.steps == 4 + 3 * 2
    stopping = preset_of(train, stage)
    assert isinstance(stopping.target, StoredLabels)
    stopping = replace(stopping, target=_Stops(stopping.target, stop))
    with pytest.raises(InterruptedRun, match=f"stopped at step {stop + 1} of 10"):
        run(tmp_path / "parts", student(), stopping, stage)
    torch.manual_seed(999)  # the checkpoint, not luck, must restore the generator
    result = run(tmp_path / "parts", resumed, preset_of(train, stage), stage)
    assert result.history == reference.history
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_selfmix_needs_two_views_of_a_sample_on_each_process(
    train: StorePart, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches are crop-major: of 2 crops an image, each of 2 processes gets one, and nothing to mix."""
    stage = toys.stage(method="fkd", options={"crops_per_image": 2, "mixing": "self"}, batch_size=12)
    preset_of(train, stage)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="set crops_per_image to at least 4"):
        preset_of(train, stage)


def test_selfmix_of_one_crop_is_said_to_do_nothing(train: StorePart) -> None:
    stage = toys.stage(method="fkd", options={"crops_per_image": 1, "mixing": "self"}, batch_size=12)
    with pytest.warns(UserWarning, match=r"options\.mixing: self has no effect where a step takes one crop"):
        preset_of(train, stage)
