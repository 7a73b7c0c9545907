"""Train a recipe's stages as an arm of a suite, look at the first steps, and score the student."""

import hashlib
import json
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compactor.data.splits import Dataset
    from compactor.label_store.diagnosis import Diagnosis
    from compactor.models.student import Student
    from compactor.recipe.load import LoadedRecipe
    from compactor.run.planned import Plan, PlannedStage

CACHE = Path(__file__).parent / ".cache"
FIRST_STEPS = 100  # after which a training is looked at
ACCURACY = "select_accuracy"
CURVE_POINTS = 24
SENTINEL = "sentinel.json"  # beside a student that is kept


@dataclass(frozen=True)
class Sentinel:
    """A training after its first steps: the student's digest, the losses, its figures on select."""

    steps: int
    weights: str
    loss: list[float]
    figures: dict[str, float]


@dataclass(frozen=True)
class Trained:
    """The last stage's student, its data, and what was kept while it trained.

    `seconds` is training time without evaluation, `history` has a record an evaluation (`step`,
    `select_accuracy`, ...), `targets` what the method says of its targets (`calibration` of ferkd).
    """

    student: "Student"
    data: "Dataset"
    steps: int
    seconds: float
    history: list[dict[str, Any]]
    targets: dict[str, Any]
    sentinel: Sentinel | None


def train(
    loaded: "LoadedRecipe",
    name: str,
    *,
    shared: str | tuple[str, ...] = "teacher",
    watched: str | None = None,
) -> Trained:
    """Train a recipe's stages; those whose id starts with `shared` are kept for the suite's other runs.

    So are label stores, which lie in the suite's cache under a key of their own contents. The first steps of
    stage `watched` are looked at; absent = the last one.
    """
    from compactor.cache.folder import DONE
    from compactor.models.build import load_model_folder
    from compactor.run.stages import TARGETS

    with tempfile.TemporaryDirectory() as scratch:
        folder, seen, plan = _run_stages(loaded, name, shared, Path(scratch), watched)
        done = json.loads((folder / DONE).read_text(encoding="utf-8"))
        targets = folder / TARGETS
        return Trained(
            load_model_folder(folder / "student"),
            plan.stages[-1].data,
            done["steps"],
            done["seconds"],
            done["history"],
            json.loads(targets.read_text(encoding="utf-8")) if targets.is_file() else {},
            Sentinel(**json.loads(seen.read_text(encoding="utf-8"))) if seen.is_file() else None,
        )


def make_labels(loaded: "LoadedRecipe", name: str) -> "Diagnosis":
    """Make the label store of a recipe's last stage, and what teaches it, for the suite's other runs."""
    from compactor.cache.journal import Journal
    from compactor.progress import SilentReporter
    from compactor.run.diagnosed import diagnosed_labels
    from compactor.run.plan import make_plan
    from compactor.run.stages import StageRunner

    plan = make_plan(loaded, CACHE / name)
    runner = StageRunner(plan, SilentReporter(), Journal(None))
    *taught, last = plan.stages
    for stage in taught:
        runner.run(replace(stage, folder=_folder(CACHE / name, stage)))
    runner.labels(last)
    return diagnosed_labels(plan, SilentReporter())[last.id]


def first_steps(
    loaded: "LoadedRecipe",
    name: str,
    *,
    shared: str | tuple[str, ...] = "teacher",
    watched: str | None = None,
) -> Sentinel:
    """Train the watched stage's first steps anew and stop there; those before come from the suite's cache."""
    with tempfile.TemporaryDirectory() as scratch:
        try:
            _run_stages(loaded, name, shared, Path(scratch), watched, stop=True)
        except _SeenEnough as seen:
            return seen.sentinel
    raise RuntimeError(f"{name}: the training ended before its first steps were seen")


def computes(loaded: "LoadedRecipe", name: str) -> tuple[list[str], list[str], dict[str, Any]]:
    """What decides an arm's result: modules, modules that count alone, and digests of data and weights."""
    from compactor.cache.digest import digest_of
    from compactor.models.references import Identities
    from compactor.recipe.spec import ModelSpec
    from compactor.run.plan import TRAINS, make_plan

    plan, known = make_plan(loaded, CACHE / name), Identities(loaded.base)
    modules = [module for stage in plan.stages for module in stage.computes]
    if plan.labels:
        modules += ["compactor.label_store.make"]
    models = [one for stage in plan.stages for one in (stage.student, *stage.teachers)]
    named = {one.model: known.model(one) for one in models if isinstance(one, ModelSpec)}
    inputs = {
        "data": {stage.id: stage.data.digest[:12] for stage in plan.stages},
        "weights": {name: digest_of(one)[:12] for name, one in named.items()},
    }
    return sorted(set(modules)), [*TRAINS, __name__], inputs


def score(trained: Trained, task: Any) -> dict[str, Any]:
    """Accuracy on select, and which report samples are answered rightly (a string of 0 and 1)."""
    from compactor.evaluation import split_labels, student_answers
    from compactor_runtimes.stats.metrics import correct

    right = [
        correct(
            student_answers(trained.student, task.batches(split))[task.head.name], split_labels(task, split)
        )
        for split in (trained.data.select, trained.data.report)
    ]
    return {
        "select_accuracy": float(right[0].mean()),
        "select_rows": len(trained.data.select),
        "report_right": "".join(str(int(value)) for value in right[1]),
        **kept(trained),
    }


def kept(trained: Trained) -> dict[str, Any]:
    """How long and along which curve a student was trained, and how it stood after the first steps."""
    return {
        "steps": trained.steps,
        "train_s": round(trained.seconds, 3),
        "curve": _thinned(
            [[one["step"], round(one[ACCURACY], 5)] for one in trained.history if ACCURACY in one]
        ),
        "sentinel": None if trained.sentinel is None else asdict(trained.sentinel),
    }


def _thinned(points: list[Any]) -> list[Any]:
    """At most CURVE_POINTS of a curve, evenly, the last one among them."""
    every = -(-len(points) // CURVE_POINTS)
    return points[::-1][:: max(every, 1)][::-1]


class _SeenEnough(Exception):
    def __init__(self, sentinel: Sentinel) -> None:
        super().__init__()
        self.sentinel = sentinel


class _Watcher:
    """Look at a training's first steps; the student goes on as if nobody had."""

    def __init__(self, data: "Dataset", task: Any, place: Path, *, stop: bool) -> None:
        self.data, self.task, self.place, self.stop = data, task, place, stop
        self.loss: list[float] = []

    def __call__(self, step: int, student: "nn.Module", loss: "Tensor") -> None:
        from compactor.evaluation import select_figures
        from compactor_runtimes.files import write_whole

        if step > FIRST_STEPS:
            return
        self.loss.append(round(float(loss), 5))
        if step < FIRST_STEPS or len(self.loss) < FIRST_STEPS:  # one that was resumed is not seen whole
            return
        figures = select_figures(self.task, self.data.select)(student)
        found = Sentinel(step, _digest(student), self.loss, {k: round(v, 6) for k, v in figures.items()})
        if self.stop:
            raise _SeenEnough(found)
        write_whole(self.place / SENTINEL, json.dumps(asdict(found)).encode())


def _digest(student: "nn.Module") -> str:
    """SHA-256 of all names and numbers of a module."""
    digest = hashlib.sha256()
    for name, value in sorted(student.state_dict().items()):
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _folder(parent: Path, stage: "PlannedStage") -> Path:
    return parent / f"{stage.id}-{stage.digest[:12]}"


def _run_stages(
    loaded: "LoadedRecipe",
    name: str,
    shared: str | tuple[str, ...],
    scratch: Path,
    watched: str | None,
    *,
    stop: bool = False,
) -> "tuple[Path, Path, Plan]":
    """Returns the last stage's folder, where the sentinel of the watched one is, and the plan."""
    from compactor.cache.journal import Journal
    from compactor.progress import SilentReporter
    from compactor.run.plan import make_plan
    from compactor.run.stages import StageRunner
    from compactor.tasks import task_named

    cache = CACHE / name
    plan = make_plan(loaded, cache)
    runner, looked_at = StageRunner(plan, SilentReporter(), Journal(None)), watched or plan.stages[-1].id
    seen = scratch / SENTINEL
    for stage in plan.stages:
        is_watched = stage.id == looked_at
        keep = stage.id.startswith(shared) and not (stop and is_watched)
        folder = _folder(cache if keep else scratch, stage)
        seen = folder / SENTINEL if is_watched else seen
        runner.watch = _Watcher(stage.data, task_named(stage.task), folder, stop=stop) if is_watched else None
        runner.run(replace(stage, folder=folder))
    return folder, seen, plan
