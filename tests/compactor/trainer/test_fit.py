"""The trainer: a step's arithmetic, resume, interruption, several processes, what must never change."""

import copy
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from compactor.cache.folder import CHECKPOINT
from compactor.data.image_loader import ImageLoader, eval_batches
from compactor.data.spec import AugmentSpec
from compactor.methods import method_named, parse_options
from compactor.objectives import LogitObjective
from compactor.objectives.hard_ce import HardCrossEntropy
from compactor.recipe.spec import StageSpec
from compactor.records import PENULTIMATE, Batch, Crops, Needs, Outputs, Step, Target, Term
from compactor.samplers.shuffle import Shuffle
from compactor.teachers import Teachers
from compactor.trainer.contracts import Preset, Sampler, TargetPolicy
from compactor.trainer.fit import FitResult, accelerator_for, fit
from compactor.trainer.schedule import lr_factor
from compactor_runtimes.errors import InterruptedRun, UsageError
from tests import toys

AUGMENT = AugmentSpec(crop="pad", padding=1, flip=True)


def train(
    folder: Path,
    *,
    student: nn.Module,
    stage: StageSpec,
    preset: Preset | None = None,
    teachers: Teachers | None = None,
    augment: AugmentSpec = AUGMENT,
    n: int = 26,
    deadline_s: float | None = None,
) -> FitResult:
    folder.mkdir(exist_ok=True)
    method = method_named(stage.method, "test")
    return fit(
        student,
        preset or method.build(parse_options(method, stage.options, "test")),
        lambda rank, world: ImageLoader(
            toys.split(n), batch_size=stage.batch_size, augment=augment, seed=3, rank=rank, world=world
        ),
        training=stage,
        name=stage.id,
        seed=3,
        folder=folder,
        split=toys.split(n),
        teachers=teachers,
        deadline_s=deadline_s,
    )


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


# one step of plain SGD on all 25 samples
ONE_STEP: dict[str, Any] = {
    "steps": 1,
    "epochs": None,
    "batch_size": 25,
    "momentum": 0.0,
    "weight_decay": 0.0,
    "schedule": "constant",
}


def pixels_of(n: int) -> Tensor:
    return torch.from_numpy(toys.split(n).inputs.astype(np.float32) / 255).permute(0, 3, 1, 2)


def test_one_step_is_plain_sgd(tmp_path: Path) -> None:
    """Against autograd by hand: w - lr * (gradient + weight decay * w) on the whole batch."""
    student = toys.classifier()
    by_hand = copy.deepcopy(student)
    stage = toys.stage(
        steps=1, epochs=None, batch_size=25, lr=0.1, weight_decay=0.01, momentum=0.9, schedule="constant"
    )
    train(tmp_path, student=student, stage=stage, augment=AugmentSpec(), n=25)
    data = toys.split(25)
    pixels = torch.from_numpy(data.inputs.astype(np.float32) / 255).permute(0, 3, 1, 2)
    loss = nn.functional.cross_entropy(by_hand(pixels)["label"], torch.from_numpy(data.labels["label"]))
    loss.backward()
    for trained, expected in zip(student.parameters(), by_hand.parameters(), strict=True):
        assert expected.grad is not None
        torch.testing.assert_close(trained, expected - 0.1 * (expected.grad + 0.01 * expected))


def test_schedule_by_hand() -> None:
    """Warm-up over 4 of 12 steps, then cosine: 0, 1/4, ..., 1 at 4, 1/2 at 8, 0 at 12."""
    factors = [lr_factor(Step(step, 12, 0, 1), warmup=4, schedule="cosine") for step in range(13)]
    assert factors[:5] == [0, 0.25, 0.5, 0.75, 1.0]
    assert factors[8] == pytest.approx(0.5)
    assert factors[12] == pytest.approx(0)
    assert [lr_factor(Step(step, 9, 0, 1), warmup=0, schedule="constant") for step in (0, 8)] == [1.0, 1.0]
    # FKD: the same rate in all steps of a pass that begins with epoch e of E
    passes = [lr_factor(Step(step, 99, 4, 16), warmup=0, schedule="cosine-epochs") for step in (30, 40)]
    assert passes == [pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))] * 2


class StopAt(TargetPolicy):
    """Send this process a Ctrl-C in the middle of a step."""

    def __init__(self, at: int) -> None:
        self.at = at

    def make(self, batch: Batch, teacher: Outputs | None, step: Step) -> Target:
        if step.step == self.at:
            os.kill(os.getpid(), signal.SIGINT)
        return Target()


@pytest.mark.parametrize("stop", [1, 3, 5])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path: Path, stop: int, optimizer: str) -> None:
    """Bit for bit, with dropout, momentum and augmentation, in the middle and at the end of an epoch."""
    stage = toys.stage(optimizer=optimizer, lr=0.01, warmup_epochs=0.5)
    whole = toys.classifier(dropout=0.3)
    reference = train(tmp_path / "whole", student=whole, stage=stage)
    parts = toys.classifier(dropout=0.3)
    preset = Preset([(HardCrossEntropy(), 1.0)], StopAt(stop), Shuffle())
    with pytest.raises(InterruptedRun, match=f"stopped at step {stop + 1} of 12"):
        train(tmp_path / "parts", student=parts, stage=stage, preset=preset)
    torch.manual_seed(999)  # the checkpoint, not luck, must restore the generator
    resumed = toys.classifier(seed=5, dropout=0.3)
    result = train(tmp_path / "parts", student=resumed, stage=stage)
    assert same(weights(whole), weights(resumed))
    assert result.steps == 12
    assert result.history == reference.history


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_batch_norm_student_resumes_bit_for_bit(tmp_path: Path, optimizer: str) -> None:
    """With running statistics, the family's own dropout, and norms that do not decay."""
    from compactor.models.build import build_model
    from compactor.recipe.spec import ModelSpec

    def make() -> nn.Module:
        options = {"width": 4, "dropout": 0.3}
        return build_model(ModelSpec(model="cifar:resnet8", options=options), toys.info(), base=tmp_path)

    stage = toys.stage(epochs=2, optimizer=optimizer, undecayed="norms")
    whole, resumed = make(), make()
    train(tmp_path / "whole", student=whole, stage=stage)
    with pytest.raises(InterruptedRun):
        train(
            tmp_path / "parts",
            student=make(),
            stage=stage,
            preset=Preset([(HardCrossEntropy(), 1.0)], StopAt(2), Shuffle()),
        )
    torch.manual_seed(999)
    train(tmp_path / "parts", student=resumed, stage=stage)
    assert same(weights(whole), weights(resumed))


_KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
import torch
torch.set_num_threads({threads})  # sums are split by it, and tests before may have set it here
from tests.compactor.trainer.test_fit import train, toys
from compactor.trainer import fit as module
class Slow(module._Run):
    def end_epoch(self, evaluate):
        super().end_epoch(evaluate)
        print("epoch", self.epoch - 1, flush=True)
        time.sleep(0.2)
module._Run = Slow
train(Path({folder!r}), student=toys.classifier(dropout=0.3), stage=toys.stage())
"""


@pytest.mark.slow
def test_killed_without_warning_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    """kill -9 after the first epoch: the last checkpoint is whole and training goes on from it."""
    root = str(Path(__file__).parents[3])
    folder = tmp_path / "killed"
    folder.mkdir()
    script = _KILLED.format(root=root, folder=str(folder), threads=torch.get_num_threads())
    child = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "epoch 0\n"
    child.kill()
    child.wait()
    child.stdout.close()
    assert (folder / CHECKPOINT).is_file()
    whole, resumed = toys.classifier(dropout=0.3), toys.classifier(dropout=0.3)
    train(tmp_path / "whole", student=whole, stage=toys.stage())
    train(folder, student=resumed, stage=toys.stage())
    assert same(weights(whole), weights(resumed))


_TWO = """
import sys
from collections.abc import Iterator
from pathlib import Path
sys.path.insert(0, {root!r})
import torch
torch.set_num_threads(1)
from tests.compactor.trainer.test_fit import train, toys, Teachers
from compactor.trainer.processes import end_processes
student = toys.classifier()
teachers = Teachers([toys.classifier(seed=8)]) if {method!r} == "kd" else None
stage = toys.stage(**({{"method": {method!r}, "batch_size": 7}} | {changes!r}))
from compactor.trainer import stepper
from torch.distributed.tensor import DTensor
divided = []
made = stepper.Stepper.__init__
def seen(self, *args, **options):
    made(self, *args, **options)
    models = [self.trained, *(self.all_teachers.models if self.all_teachers else [])]
    divided.extend(isinstance(one, DTensor) for model in models for one in model.parameters())
stepper.Stepper.__init__ = seen
train(Path({folder!r}), student=student, stage=stage, teachers=teachers)
assert set(divided) == {{getattr(stage, "sharding", None) == "fsdp2"}}, divided
if torch.distributed.get_rank() == 0:
    torch.save(student.state_dict(), Path({folder!r}) / "result.pt")
end_processes()
"""


def train_two(folder: Path, method: str, **changes: Any) -> dict[str, Tensor]:
    """Train in two processes of torchrun, with gloo; return the student's weights."""
    script = folder / "two.py"
    root = str(Path(__file__).parents[3])
    script.write_text(_TWO.format(root=root, folder=str(folder), method=method, changes=changes))
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        str(script),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Tensor] = torch.load(folder / "result.pt", weights_only=True)
    return found


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("method", "sharding"), [("kd", None), ("dml", None), ("kd", "fsdp2"), ("dml", "fsdp2")]
)
def test_two_processes_equal_one(tmp_path: Path, method: str, sharding: str | None) -> None:
    """26 samples in batches of 7 (4 + 3, last 5 = 3 + 2), so shares are uneven; weights whole or divided."""
    two = train_two(tmp_path, method, **({} if sharding is None else {"sharding": sharding}))
    one = toys.classifier()
    teachers = Teachers([toys.classifier(seed=8)]) if method == "kd" else None
    stage = toys.stage(method=method, batch_size=7)
    train(tmp_path / "one", student=one, stage=stage, teachers=teachers)
    for name, value in one.state_dict().items():
        torch.testing.assert_close(two[name], value, atol=1e-6, rtol=1e-5)


@pytest.mark.heavy
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_checkpoint_of_two_divided_processes_goes_on_in_one_and_back(
    tmp_path: Path, optimizer: str
) -> None:
    """Epoch 0 in two, epoch 1 in one, epoch 2 in two: as three epochs in one."""
    common = {"batch_size": 7, "optimizer": optimizer, "schedule": "constant", "lr": 0.01}
    train_two(tmp_path, "supervised", **common, epochs=1, sharding="fsdp2")
    student = toys.classifier(seed=5)  # its weights come from the checkpoint
    train(tmp_path, student=student, stage=toys.stage(**common, epochs=2))
    two = train_two(tmp_path, "supervised", **common, epochs=3, sharding="fsdp2")
    one = toys.classifier()
    train(tmp_path / "one", student=one, stage=toys.stage(**common, epochs=3))
    for name, value in one.state_dict().items():
        torch.testing.assert_close(two[name], value, atol=1e-6, rtol=1e-5)


def test_what_needs_whole_gradients_or_a_gpu_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compactor.trainer import stepper
    from compactor.trainer.contracts import Preset
    from compactor_runtimes.errors import UnfitEnvironmentError

    preset = Preset([], None, None, gradients=lambda apart: apart[0])  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"stage toy\.sharding: the method makes one gradient of several"):
        stepper._require_shardable(True, preset, "toy")
    accelerator = accelerator_for("fp32")
    if accelerator.device.type == "cpu":
        with pytest.raises(UnfitEnvironmentError, match=r"stage toy\.sync_batch_norm: torch has it on GPUs"):
            stepper._with_synced_batch_norm(toys.classifier(), accelerator, "toy")


def test_teachers_stay_as_they_are(tmp_path: Path) -> None:
    """Eval mode, no gradient, buffers untouched, outside the student and its optimiser."""
    from compactor.models.build import build_model
    from compactor.recipe.spec import ModelSpec

    teacher = build_model(ModelSpec(model="cifar:resnet8", options={"width": 4}), toys.info(), base=tmp_path)
    before = weights(teacher)
    student = toys.classifier()
    train(tmp_path, student=student, stage=toys.stage(method="kd"), teachers=Teachers([teacher]))
    assert same(before, weights(teacher))
    assert not any(module.training for module in teacher.modules())
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert set(student.state_dict()) == set(toys.classifier().state_dict())


def test_kd_without_a_hard_share_never_reads_labels(tmp_path: Path) -> None:
    stage = toys.stage(method="kd", options={"soft_weight": 1.0})
    results = []
    for number in range(2):
        student = toys.classifier()
        data = toys.split()
        if number:
            data.labels["label"][:] = np.roll(data.labels["label"], 1)
        folder = tmp_path / str(number)
        folder.mkdir()
        method = method_named("kd", "test")
        fit(
            student,
            method.build(parse_options(method, stage.options, "test")),
            lambda rank, world, data=data: ImageLoader(
                data, batch_size=8, augment=AugmentSpec(), seed=0, rank=rank, world=world
            ),
            training=stage,
            name=stage.id,
            seed=0,
            folder=folder,
            teachers=Teachers([toys.classifier(seed=8)]),
        )
        results.append(weights(student))
    assert same(*results)


class _HalfWeights(Sampler):
    def weights(self, name: str, term: Term, student: Outputs, batch: Batch, step: Step) -> Tensor | None:
        return torch.full_like(term.loss, 0.5)


def test_reduction_is_weighted_sum_over_valid_count(tmp_path: Path) -> None:
    """Losses 1, 3, 100 with the last one not valid, weights 1/2: (1 + 3) / 2 / 2 = 1."""

    class Fixed(LogitObjective):
        def __call__(
            self, student: Outputs, teacher: Outputs | None, target: Target, batch: Batch, step: Step
        ) -> dict[str, Term]:
            anchor = 0 * student.logits["label"].sum(-1)
            return {
                "fixed": Term(anchor + torch.tensor([1.0, 3.0, 100.0]), torch.tensor([True, True, False]))
            }

    stage = toys.stage(steps=1, epochs=None, batch_size=3)
    preset = Preset([(Fixed(), lambda at: 10.0)], TargetPolicy(), _HalfWeights())
    result = train(tmp_path, student=toys.classifier(), stage=stage, preset=preset, n=3)
    assert result.history[0]["terms"] == {"fixed": pytest.approx(1.0)}


class _Projector(LogitObjective):
    """A feature objective with a train-only projection, as hidden-state matching will be."""

    needs = Needs(student=frozenset({PENULTIMATE}), teacher=frozenset({PENULTIMATE}))

    def setup(self, student: nn.Module, teachers: list[nn.Module]) -> nn.Module:
        self.projector = nn.Linear(16, 16, bias=False)
        return self.projector

    def __call__(
        self, student: Outputs, teacher: Outputs | None, target: Target, batch: Batch, step: Step
    ) -> dict[str, Term]:
        assert teacher is not None
        gap = self.projector(student.features[PENULTIMATE]) - teacher.features[PENULTIMATE]
        return {"hidden": Term(gap.square().mean(-1))}


def test_train_only_module_learns_and_stays_out_of_the_student(tmp_path: Path) -> None:
    """One step of plain SGD, student and projection alike, on gradients by hand."""
    student, teacher, objective = toys.classifier(), toys.classifier(seed=8), _Projector()
    by_hand = copy.deepcopy(student)
    preset = Preset([(objective, 1.0)], TargetPolicy(), Shuffle())
    stage = toys.stage(**ONE_STEP, lr=0.3)
    train(
        tmp_path,
        student=student,
        stage=stage,
        preset=preset,
        teachers=Teachers([teacher]),
        augment=AugmentSpec(),
        n=25,
    )
    torch.manual_seed(3)  # the stage's seed
    projector = nn.Linear(16, 16, bias=False)
    normalised = (pixels_of(25) - 0.5) / 0.5
    gap = projector(by_hand.backbone.body(normalised)) - teacher.backbone.body(normalised)
    gap.square().mean().backward()
    for trained, expected in [
        (objective.projector.weight, projector.weight),
        *zip(student.backbone.body.parameters(), by_hand.backbone.body.parameters(), strict=True),
    ]:
        assert expected.grad is not None
        assert expected.grad.abs().sum() > 0
        torch.testing.assert_close(trained, expected - 0.3 * expected.grad)
    assert set(student.state_dict()) == set(toys.classifier().state_dict())
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["training"]["train_only"][0].keys() == {
        "weight"
    }


def test_a_loss_that_explodes_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"stage toy: loss hard_ce became (nan|inf).*lower lr"):
        train(tmp_path, student=toys.classifier(), stage=toys.stage(lr=1e30))


def test_bfloat16_trains_and_the_weights_stay_float32(tmp_path: Path) -> None:
    """One step of plain SGD on gradients that autocast computes by hand."""
    student = toys.classifier()
    by_hand = copy.deepcopy(student)
    stage = toys.stage(**ONE_STEP, precision="bf16")
    result = train(tmp_path, student=student, stage=stage, augment=AugmentSpec(), n=25)
    labels = torch.from_numpy(toys.split(25).labels["label"])
    exact = nn.functional.cross_entropy(by_hand(pixels_of(25))["label"], labels).item()
    with torch.autocast("cpu", torch.bfloat16):
        loss = nn.functional.cross_entropy(by_hand(pixels_of(25))["label"].float(), labels)
    loss.backward()
    assert result.history[0]["terms"]["hard_ce"] == pytest.approx(loss.item(), abs=1e-6)
    assert abs(loss.item() - exact) > 1e-4  # bfloat16 has 8 bits, and it shows
    assert {value.dtype for value in student.parameters()} == {torch.float32}
    for trained, expected in zip(student.parameters(), by_hand.parameters(), strict=True):
        assert expected.grad is not None
        torch.testing.assert_close(trained, expected - 0.05 * expected.grad)


class _Passes(Sampler):
    """Two views of each sample in a pass, as stored labels will do: a pass counts as two epochs."""

    def positions(self, epoch: int, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
        return np.tile(rng.permutation(n).reshape(-1, 4), 2).ravel()


class _Half(Sampler):
    """A fresh half of the data each epoch."""

    def samples(self, n: int, epoch: int = 0) -> int:
        return n // 2

    def positions(self, epoch: int, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
        return rng.permutation(n)[: n // 2]


@pytest.mark.parametrize(("sampler", "passes", "steps"), [(_Passes(), 2, 12), (_Half(), 4, 8)])
def test_epochs_may_be_longer_or_shorter_than_the_data(
    tmp_path: Path, sampler: Sampler, passes: int, steps: int
) -> None:
    """24 samples in batches of 8, 4 epochs: 12 steps in passes of 6 for full epochs, 8 for half ones."""
    stage = toys.stage(epochs=4)
    preset = Preset([(HardCrossEntropy(), 1.0)], TargetPolicy(), sampler)
    whole = toys.classifier(dropout=0.3)
    result = train(tmp_path / "whole", student=whole, stage=stage, preset=preset, n=24)
    assert (result.steps, len(result.history)) == (steps, passes)
    with pytest.raises(InterruptedRun):
        train(
            tmp_path / "parts",
            student=toys.classifier(dropout=0.3),
            stage=stage,
            preset=Preset([(HardCrossEntropy(), 1.0)], StopAt(4), sampler),
            n=24,
        )
    resumed = toys.classifier(dropout=0.3)
    again = train(tmp_path / "parts", student=resumed, stage=stage, preset=preset, n=24)
    assert same(weights(whole), weights(resumed))
    assert again.history == result.history


class _Replay(TargetPolicy):
    """Two stored views a sample; the k-th occurrence in a batch is the k-th view, which make() reads back."""

    def __init__(self) -> None:
        self.seen: list[tuple[list[int], list[int]]] = []

    def crops(self, ids: NDArray[np.int64], epoch: int) -> Crops:  # type: ignore[override]
        index = [int((ids[:row] == ids[row]).sum()) for row in range(len(ids))]
        box = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).repeat(len(ids), 1)
        return Crops(box, torch.tensor(index, dtype=torch.bool), torch.tensor(index))

    def make(self, batch: Batch, teacher: Outputs | None, step: Step) -> Target:
        assert batch.crop is not None
        assert batch.crop.index is not None
        self.seen.append((batch.id.tolist(), batch.crop.index.tolist()))
        first, second = batch.x["pixel_values"].split(4)
        assert torch.equal(first.flip(-1), second)  # the second view is the mirrored one
        return Target()


def test_a_target_policy_may_replay_stored_views(tmp_path: Path) -> None:
    policy = _Replay()
    preset = Preset([(HardCrossEntropy(), 1.0)], policy, _Passes())
    train(tmp_path, student=toys.classifier(), stage=toys.stage(epochs=2), preset=preset, n=24)
    assert len(policy.seen) == 6
    for ids, index in policy.seen:
        assert ids[:4] == ids[4:]
        assert index == [0] * 4 + [1] * 4


class _ClassMeans(LogitObjective):
    """Statistics of the teacher over the training samples, as class-mean objectives need."""

    needs = Needs(statistics=True)

    def fit(self, teachers: Teachers | None, batches: Iterator[Batch]) -> None:
        assert teachers is not None
        parts = [(batch.y["label"], teachers(batch).logits["label"]) for batch in batches]
        labels, logits = torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
        self.means = torch.stack([logits[labels == number].mean(0) for number in range(3)])

    def __call__(
        self, student: Outputs, teacher: Outputs | None, target: Target, batch: Batch, step: Step
    ) -> dict[str, Term]:
        return {"pull": Term((student.logits["label"] - self.means[batch.y["label"]]).square().sum(-1))}


def test_an_objective_may_see_all_samples_before_training(tmp_path: Path) -> None:
    objective, data, teacher = _ClassMeans(), toys.split(24), toys.classifier(seed=8)
    fit(
        toys.classifier(),
        Preset([(objective, 1.0)], TargetPolicy(), Shuffle()),
        lambda rank, world: ImageLoader(data, batch_size=8, augment=AUGMENT, seed=0, rank=rank, world=world),
        training=toys.stage(epochs=1),
        name="toy",
        seed=0,
        folder=tmp_path,
        teachers=Teachers([teacher]),
        each_once=lambda: eval_batches(data, 7),
    )
    pixels = torch.from_numpy(data.inputs.astype(np.float32) / 255).permute(0, 3, 1, 2)
    logits = teacher(pixels)["label"]
    for number in range(3):
        expected = logits[torch.from_numpy(data.labels["label"] == number)].mean(0)
        torch.testing.assert_close(objective.means[number], expected)


def test_a_time_limit_stops_like_the_user_and_training_goes_on_later(tmp_path: Path) -> None:
    whole, stopped = toys.classifier(dropout=0.3), toys.classifier(dropout=0.3)
    with pytest.raises(InterruptedRun, match=r"stopped by --max-hours at step 1 of 12, checkpoint kept"):
        train(tmp_path, student=stopped, stage=toys.stage(), deadline_s=0.0)
    assert (tmp_path / CHECKPOINT).is_file()
    train(tmp_path, student=stopped, stage=toys.stage())
    train(tmp_path / "whole", student=whole, stage=toys.stage())
    assert same(weights(whole), weights(stopped))
