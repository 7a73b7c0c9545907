"""One subject of the foundation suite, in a process of its own: prints one JSON line."""

import io
import json
import sys
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter, perf_counter_ns
from typing import Any

import numpy as np

STEPS, WARMUP, BATCH = 16, 4, 128


def synthetic_split(n: int) -> Any:
    """Random images of 10 classes."""
    from compactor.data.splits import Split

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
    return Split("train", images, {"label": np.arange(n) % 10}, np.arange(n), "synthetic")


def synthetic_model(name: str = "cifar:resnet20") -> Any:
    """A classifier of 32 x 32 images with random weights."""
    from compactor.models.build import build_model
    from compactor.recipe.spec import ModelSpec
    from compactor.records import DataInfo, ImageInfo

    info = DataInfo(
        "image-classification", {"label": [str(number) for number in range(10)]}, ImageInfo(32, 32, 3)
    )
    return build_model(ModelSpec(model=name), info, base=Path())


def trainer_step() -> dict[str, Any]:
    """Steps of fit() with hard labels, augmentation included."""
    from compactor.objectives.hard_ce import HardCrossEntropy
    from compactor.recipe.spec import StageSpec
    from compactor.samplers.shuffle import Shuffle
    from compactor.trainer.contracts import Preset, TargetPolicy

    stage = StageSpec(id="bench", method="supervised", steps=STEPS + 1, batch_size=BATCH)
    preset = Preset([(HardCrossEntropy(), 1.0)], TargetPolicy(), Shuffle())
    with tempfile.TemporaryDirectory() as folder:
        return {"step_s": step_seconds_of(synthetic_model(), preset, stage, Path(folder))[WARMUP:]}


def step_starts(preset: Any) -> list[float]:
    """A list to which fit() with this preset will add the time at which each step starts."""
    starts: list[float] = []
    transform = preset.target.transform

    def clocked(batch: Any) -> Any:
        starts.append(perf_counter())
        return transform(batch)

    preset.target.transform = clocked
    return starts


def step_seconds_of(student: Any, preset: Any, stage: Any, folder: Path, teachers: Any = None) -> list[float]:
    """Time between the starts of successive batches of fit(), `stage.steps` - 1 of them."""
    from compactor.data.image_loader import ImageLoader
    from compactor.data.spec import AugmentSpec
    from compactor.trainer.fit import fit

    starts = step_starts(preset)
    augment = AugmentSpec(crop="pad", padding=4, flip=True)
    split = synthetic_split(BATCH * stage.steps)
    fit(
        student,
        preset,
        lambda rank, world: ImageLoader(
            split, batch_size=BATCH, augment=augment, seed=0, rank=rank, world=world
        ),
        training=stage,
        name=stage.id,
        seed=0,
        folder=folder,
        teachers=teachers,
    )
    return [later - before for before, later in pairwise(starts)]


def bare_loop() -> dict[str, Any]:
    """The hand-written loop on the same model and images."""
    import torch

    from benchmarks.peers.bare_loop import step_seconds

    split = synthetic_split(BATCH * STEPS)
    # channels last, as stored: the faster memory format of the two, and the one that the loader yields
    pixels = torch.from_numpy(split.inputs).permute(0, 3, 1, 2).float().div(255)
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    labels = torch.from_numpy(split.labels["label"])
    return {"step_s": step_seconds(synthetic_model(), pixels, labels, steps=STEPS, batch=BATCH)[WARMUP:]}


def pipeline() -> dict[str, Any]:
    """Batches from the loader on one thread."""
    import torch

    from compactor.data.image_loader import ImageLoader
    from compactor.data.spec import AugmentSpec

    torch.set_num_threads(1)
    split = synthetic_split(BATCH * 400)
    augment = AugmentSpec(crop="pad", padding=4, flip=True)
    loader = ImageLoader(split, batch_size=BATCH, augment=augment, seed=0)
    order = np.random.default_rng(0).permutation(len(split))
    for _ in zip(range(20), loader.epoch(0, order), strict=False):
        pass
    started = perf_counter()
    images = sum(batch.size for batch in loader.epoch(1, order))
    return {"images_per_s": images / (perf_counter() - started)}


def torchvision_pipeline() -> dict[str, Any]:
    """The same views by torchvision, on one thread."""
    import torch

    from benchmarks.peers.torchvision_pipeline import images_per_s

    torch.set_num_threads(1)
    images = synthetic_split(BATCH * 40).inputs
    images_per_s(images[: 4 * BATCH], batch=BATCH)
    return {"images_per_s": images_per_s(images, batch=BATCH)}


def _bundle(folder: Path) -> Path:
    """A bundle of the digits student's shape with random weights, which costs no training."""
    from compactor.data.datasets import open_dataset
    from compactor.data.spec import DataSpec
    from compactor.models.build import build_model, save_model
    from compactor.recipe.load import load_recipe
    from compactor.recipe.spec import ModelSpec
    from compactor.release.artifacts import export_source
    from compactor.tasks.image_classification import TASK
    from compactor_exporters import Workspace, export_artifact
    from compactor_exporters.bundle_writer import BundleContents, write_bundle
    from compactor_exporters.verify.artifact import verify_artifact
    from compactor_runtimes.bundle.manifest import ExportSpec

    recipe = load_recipe("digits").recipe
    data = open_dataset(DataSpec(dataset="digits"), base=None)
    spec = ModelSpec(model="cifar:resnet8", options={"width": 8})
    student = build_model(spec, data.info, base=Path()).eval()
    save_model(student, spec, folder / "student")
    source = export_source(student, recipe.name, recipe.task)
    raws = TASK.raws(data.select, 8, folder / "raw")
    feeds = {name: value.numpy() for name, value in next(TASK.batches(data.select)).x.items()}
    workspace = Workspace(folder / "artifacts")
    artifact = export_artifact(source, ExportSpec(required=True), workspace)
    artifact = verify_artifact(source, artifact, workspace, feeds=feeds)
    contents = BundleContents(
        source=source,
        artifacts=[artifact],
        artifact_folder=folder / "artifacts",
        student_folder=folder / "student",
        raws=raws,
        default_artifact="fp32",
    )
    return write_bundle(folder / "bundle", contents)


def predict() -> dict[str, Any]:
    """Alternate predict(bytes) with decoding and session.run alone; overhead of each pair of medians."""
    from PIL import Image

    from compactor_runtimes.backends import open_runtime
    from compactor_runtimes.predict.loading import load

    with tempfile.TemporaryDirectory() as name:
        bundle = _bundle(Path(name))
        raw = (bundle / "golden" / "case-000.png").read_bytes()
        runtime = open_runtime("ort-cpu", bundle / "artifacts" / "fp32.onnx", threads=1)
        feeds = {"pixel_values": np.zeros((1, 1, 8, 8), np.float32)}

        def floor() -> None:
            np.asarray(Image.open(io.BytesIO(raw)).convert("L"))
            runtime.run(feeds)

        overheads = []
        with load(bundle, threads=1) as model:
            for _ in range(5):
                ours, bare = [], []
                for _ in range(400):
                    bare.append(_timed(floor))
                    ours.append(_timed(lambda: model.predict(raw)))
                overheads.append((median(ours) - median(bare)) / 1000)
        runtime.close()
    return {"overhead_us": overheads}


def export() -> dict[str, Any]:
    """Export resnet20 and compare it with torch on samples spread over [0, 1]."""
    from compactor.release.artifacts import export_source
    from compactor_exporters import Workspace, export_artifact
    from compactor_exporters.verify.artifact import verify_artifact
    from compactor_runtimes.bundle.manifest import ExportSpec

    model = synthetic_model().eval()
    feeds = {"pixel_values": np.random.default_rng(1).random((256, 3, 32, 32), dtype=np.float32)}
    source = export_source(model, "resnet20", "image-classification")
    with tempfile.TemporaryDirectory() as name:
        workspace = Workspace(Path(name))
        artifact = export_artifact(source, ExportSpec(), workspace)
        artifact = verify_artifact(source, artifact, workspace, feeds=feeds)
    check = next(check for check in artifact.checks if check.name == "real-samples")
    return {"max_abs_diff": check.value, "limit": check.limit, "n": check.n, "status": artifact.status}


def _timed(work: Callable[[], object]) -> int:
    started = perf_counter_ns()
    work()
    return perf_counter_ns() - started


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]]()))
