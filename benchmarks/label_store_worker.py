"""One subject of the label store suite, in a process of its own: prints one JSON line.

Usage: python -m benchmarks.label_store_worker '{"subject": "teachers", "images": 2560, ...}'
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from benchmarks.arms import CACHE
from benchmarks.peers.bare_loop import step_seconds
from compactor.cache.journal import Journal
from compactor.data.spec import Quantization
from compactor.data.splits import Dataset
from compactor.label_store.make import make_labels
from compactor.label_store.quantization import compress
from compactor.label_store.store import LabelStore, StorePart, open_store
from compactor.label_store.write import StoreWriter
from compactor.models.build import build_model
from compactor.progress import SilentReporter
from compactor.recipe.load import LoadedRecipe, load_recipe
from compactor.records import Soft
from compactor.run.labels import LabelJob
from compactor.run.plan import make_plan
from compactor.run.stages import StageRunner, train_stage
from compactor.run.taught import open_teachers
from compactor.tasks import task_named
from compactor.teachers import Teachers
from compactor.trainer.contracts import Preset
from compactor.trainer.memory import keep_freed_memory

NAME = "label_store"
WARMUP = 4
PLAIN = ["stages.0.labels=null"]
ONLINE = [
    *PLAIN,
    "stages.0.method=kd",
    "stages.0.options={divergence: soft_ce, temperature: 1, soft_weight: 1}",
]
HARD = [*PLAIN, "stages.0.method=supervised", "stages.0.options={}"]
# how labels are read -> the k that it is read with
READINGS: list[tuple[Quantization, int]] = [
    ("hard", 1),
    ("smoothing", 1),
    *[("marginal-smoothing", k) for k in (1, 3, 5, 8)],
    *[("marginal-renorm", k) for k in (3, 5, 8)],
]


class Case:
    """The recipe with some overrides, its only stage, and what is needed to label and to train."""

    def __init__(self, settings: dict[str, Any], overrides: list[str]) -> None:
        """Load the recipe and open its data."""
        folder = "teachers/cifar10_akamaster"
        teachers = [
            f"{{model: cifar:{one}, weights: {folder}/{one}.safetensors}}" for one in settings["teachers"]
        ]
        every = [
            f"data.limit.train={settings['images']}",
            f"teachers=[{', '.join(teachers)}]",
            f"student.model=cifar:{settings['student']}",
            f"stages.0.labels={{crops: {settings['crops']}, evaluation: false}}",
            f"stages.0.batch_size={settings['batch']}",
        ]
        self.settings = settings
        self.loaded: LoadedRecipe = load_recipe("cifar10-fkd", [*every, *overrides])
        self.plan = make_plan(self.loaded, CACHE / NAME)
        [self.stage] = self.plan.stages

    @property
    def dataset(self) -> Dataset:
        """The opened data set."""
        return self.stage.data

    def runner(self) -> StageRunner:
        """What makes and opens the stage's label store."""
        return StageRunner(self.plan, SilentReporter(), Journal(None))

    def job(self) -> LabelJob:
        """The label store that the stage learns from, made or not."""
        assert self.stage.labels is not None
        return self.stage.labels

    def teachers(self) -> Teachers:
        """The teachers, opened."""
        return open_teachers(self.stage, self.loaded.base, {})

    def label(self, teachers: Teachers, folder: Path) -> float:
        """Make the stage's label store in `folder`; the seconds from stored images to finished files."""
        job, task = self.job(), task_named(self.loaded.recipe.task)
        started = perf_counter()
        make_labels(
            folder,
            job.wanted,
            job.splits,
            task,
            teachers,
            batch_size=self.settings["batch"],
            reporter=SilentReporter(),
        )
        return perf_counter() - started


def labels(
    quantization: str, k: int = 5, *, probabilities: str = "float16", boxes: str = "pixels"
) -> list[str]:
    """Overrides that ask for one kind of labels."""
    return [
        f"stages.0.labels.{name}={value}"
        for name, value in {
            "quantization": quantization,
            "boxes": boxes,
            **({} if quantization in ("full", "hard") else {"probabilities": probabilities}),
            **({"k": k} if quantization.startswith("marginal") else {}),
        }.items()
    ]


def size(settings: dict[str, Any]) -> dict[str, Any]:
    """Label once in full; write every kind of store from that; compare what is read with what was said."""
    full = _full(settings)
    said = torch.from_numpy(full.train.column("label.p").reshape(-1, full.train.num_classes("label")))
    rows = [_row(full, "full", 0, "float32", "relative")]
    for probabilities in ("float16", "float32"):
        for quantization, k in READINGS:
            if quantization == "hard" and probabilities == "float32":
                continue  # it keeps none
            for boxes in ("pixels", "relative"):
                case = Case(settings, labels(quantization, k, probabilities=probabilities, boxes=boxes))
                with tempfile.TemporaryDirectory() as folder:
                    store = _rewrite(full, case.job(), Path(folder))
                    row = _row(store, quantization, k, probabilities, boxes)
                    rows.append(row | _divergence(said, _read(store.train, quantization, k)))
    return {"images": len(full.train.ids), "crops": full.train.views, "records": full.records, "rows": rows}


def labelling(settings: dict[str, Any]) -> dict[str, Any]:
    """Make a store of the default kind, from stored images to finished files."""
    case = Case(settings, labels("marginal-smoothing"))
    teachers = case.teachers()
    _warm(teachers, settings)
    with tempfile.TemporaryDirectory() as folder:
        return {"crops_per_s": case.job().records / case.label(teachers, Path(folder) / "store")}


def teachers(settings: dict[str, Any]) -> dict[str, Any]:
    """The teachers' forwards alone, on one prepared batch, their outputs thrown away."""
    keep_freed_memory()
    models = Case(settings, labels("marginal-smoothing")).teachers()
    pixels = _warm(models, settings)
    step_s = []
    with torch.no_grad():
        for _ in range(settings["steps"]):
            started = perf_counter()
            for model in models.models:
                model(pixel_values=pixels)
            step_s.append(perf_counter() - started)
    return {"step_s": step_s}


def student_step(settings: dict[str, Any]) -> dict[str, Any]:
    """The student's step alone: a hand-written loop on prepared batches."""
    keep_freed_memory()
    case = Case(settings, HARD)
    count = settings["batch"] * 8
    ids = case.dataset.train.rows[:count]
    pixels = _views(case, ids)
    model = build_model(case.stage.student, case.dataset.info, base=case.loaded.base)
    marks = torch.from_numpy(case.dataset.train.labels["label"][ids])
    steps = WARMUP + settings["steps"]
    return {"step_s": step_seconds(model, pixels, marks, steps=steps, batch=settings["batch"])[WARMUP:]}


def epoch_hard(settings: dict[str, Any]) -> dict[str, Any]:
    """Steps of fit() on hard labels."""
    return _epoch(settings, HARD)


def epoch_online(settings: dict[str, Any]) -> dict[str, Any]:
    """Steps of fit() with the teachers at work in it."""
    return _epoch(settings, ONLINE)


def epoch_fkd(settings: dict[str, Any]) -> dict[str, Any]:
    """Steps of fit() from the store, in a pass that takes several crops of each image."""
    return _epoch(settings, labels("marginal-smoothing"))


def _epoch(settings: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """Time between the starts of successive steps within one pass, batches included; no evaluation."""
    steps = WARMUP + settings["steps"] + 1
    case = Case(settings, [*overrides, "stages.0.epochs=null", f"stages.0.steps={steps}"])
    store = None
    if case.stage.labels is not None:
        job = case.job()
        store = open_store(job.folder) if job.is_made else _rewrite(_full(settings), job, job.folder)
    with tempfile.TemporaryDirectory() as folder, _clock() as starts:
        train_stage(
            case.loaded,
            replace(case.stage, folder=Path(folder) / "stage"),
            done={},
            reporter=SilentReporter(),
            journal=Journal(None),
            store=store,
        )
    assert len(starts) == steps
    return {"step_s": [later - before for before, later in zip(starts, starts[1:], strict=False)][WARMUP:]}


@contextmanager
def _clock() -> Iterator[list[float]]:
    """Note when each step's target policy is first asked, and leave evaluation out."""
    from compactor.run import stages

    fit, starts = stages.fit, []

    def timed(student: Any, preset: Preset, loader_for: Any, **others: Any) -> Any:
        transform = preset.target.transform

        def noted(batch: Any) -> Any:
            starts.append(perf_counter())
            return transform(batch)

        preset.target.transform = noted  # type: ignore[method-assign]
        return fit(student, preset, loader_for, **others | {"evaluate": None})

    stages.fit = timed
    try:
        yield starts
    finally:
        stages.fit = fit


def _full(settings: dict[str, Any]) -> LabelStore:
    """The store of whole float32 vectors, which every other one is written from."""
    case = Case(settings, labels("full", boxes="relative"))
    store = case.runner().labels(case.stage)
    assert store is not None
    return store


def _rewrite(full: LabelStore, job: LabelJob, folder: Path) -> LabelStore:
    """Write the store that a job wants from whole vectors of the same crops, by the store's own writer."""
    header = job.wanted
    writer = StoreWriter(folder, header, {name: split.rows for name, split in job.splits.items()})
    assert [part.shard_rows for part in header.parts] == [part.shard_rows for part in full.header.parts]
    for shard in writer.claim():
        records = writer.empty(shard)
        source = full.train.shards[shard.first // shard.part.shard_rows]
        if header.boxes == "pixels":
            assert header.transform.image is not None
            height, width, _ = header.transform.image
            records["box"] = np.rint(source["box"] * np.array([height, width, height, width]))
        else:
            records["box"] = source["box"]
        records["flip"] = source["flip"]
        for name, values in compress(torch.from_numpy(source["label.p"].copy()), header.payload).items():
            records[f"label.{name}"] = values
        writer.write(shard, records)
    writer.finish()
    return open_store(folder)


def _read(part: StorePart, quantization: Quantization, k: int) -> Soft:
    views = part.views
    view = np.tile(np.arange(views), len(part.ids))
    return part.soft(part.records(np.repeat(part.ids, views), view), "label", quantization, k)


def _row(store: LabelStore, quantization: str, k: int, probabilities: str, boxes: str) -> dict[str, Any]:
    return {
        "quantization": quantization,
        "k": k,
        "probabilities": probabilities,
        "boxes": boxes,
        "record_bytes": store.train.shards[0].dtype.itemsize,
        "bytes_per_crop": store.size_bytes / store.records,
    }


def _divergence(said: torch.Tensor, recovered: Soft) -> dict[str, Any]:
    """KL(said || recovered) in float64: its mean, deviation and largest value where finite, and where not."""
    log_q = recovered.dense_log_p(said.shape[1]).double()
    p = said.double()
    kl = torch.where(p > 0, p * (p.log() - log_q), 0.0).sum(1)
    finite = kl[kl.isfinite()]
    some = len(finite) > 0
    return {
        "kl_mean": float(finite.mean()) if some else None,
        "kl_std": float(finite.std(correction=0)) if some else None,
        "kl_max": float(finite.max()) if some else None,
        "kl_infinite": int((~kl.isfinite()).sum()),
    }


def _views(case: Case, ids: Any) -> torch.Tensor:
    from compactor.data.augment import sample_crops
    from compactor.data.image_loader import make_batch

    split = case.dataset.train
    height, width = split.inputs.shape[1:3]
    crops = sample_crops(case.stage.spec.augment, len(ids), height, width, np.random.default_rng(0))
    return make_batch(split, ids, crops, (height, width)).x["pixel_values"]


def _warm(teachers: Teachers, settings: dict[str, Any]) -> torch.Tensor:
    """A prepared random batch that all teachers have seen; channels last, the faster format of the two."""
    pixels = torch.rand(settings["batch"], 3, 32, 32).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        for _ in range(WARMUP):
            for model in teachers.models:
                model(pixel_values=pixels)
    return pixels


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    print(json.dumps(globals()[given["subject"]](given)))
