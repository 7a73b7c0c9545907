"""Speed against floors and peers: fresh processes, alternating subjects, nothing else running."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from benchmarks.figures import Figure, Run, spread
from benchmarks.workers import ROOT, worker_result
from compactor.cache.digest import digest_of, file_digest

NAME = "foundation"
COMMAND = "make bench"
WORKER = "benchmarks.foundation_worker"
FIT = ("compactor.trainer.fit", "compactor.methods.supervised", "compactor.models.cifar")
COMPUTES = {
    "trainer": (*FIT, WORKER, "benchmarks.peers.bare_loop"),
    "pipeline": ("compactor.data.image_loader", WORKER, "benchmarks.peers.torchvision_pipeline"),
    "start": ("compactor",),
    "demo": ("compactor.run.pipeline", "compactor.methods.kd", "compactor.models.cifar"),
    "predict": ("compactor_runtimes.predict.loading", "compactor_runtimes.backends.ort", WORKER),
    "export": ("compactor_exporters.onnx_fp32", "compactor.models.cifar", WORKER),
}
TIMED = ("trainer", "pipeline", "start", "demo", "predict")
SETTINGS = {
    "model": "cifar:resnet20",
    "batch": 128,
    "image": "32 x 32 x 3, synthetic",
    "blocks": 5,
    "steps": 16,
    "warmup_steps": 4,
}
BLOCKS = 5
TRAINING = ("trainer_step", "bare_loop")
PIPELINES = ("pipeline", "torchvision_pipeline")
STARTS = ("import_compactor", "help", "python")


def plan(runs: list[Run]) -> list[dict[str, Any]]:
    """Alternate the order of the subjects from block to block."""
    runs = []
    for block in range(BLOCKS):
        for group in (TRAINING, PIPELINES):
            order = group if block % 2 == 0 else group[::-1]
            runs += [{"subject": subject, "block": block} for subject in order]
        runs += [{"subject": subject, "block": block} for subject in STARTS]
    runs += [{"subject": "demo", "block": block} for block in range(3)]
    runs += [{"subject": "predict", "block": block} for block in range(3)]
    return [*runs, {"subject": "export", "block": 0}]


def arm(settings: dict[str, Any]) -> str:
    """Name the group of a subject."""
    subject = settings["subject"]
    groups = {"trainer": TRAINING, "pipeline": PIPELINES, "start": STARTS}
    return next((name for name, subjects in groups.items() if subject in subjects), subject)


def inputs(settings: dict[str, Any]) -> dict[str, str]:
    """Digest of the command line, which no code digest follows; it decides how fast help comes."""
    if arm(settings) != "start":
        return {}
    files = sorted((ROOT / "compactor" / "cli").rglob("*.py"))
    return {"cli": digest_of([file_digest(path) for path in files])[:12]}


def execute(settings: dict[str, Any]) -> dict[str, Any]:
    """Execute one subject in a fresh process."""
    subject = settings["subject"]
    if subject in STARTS:
        return {"seconds": [_start(subject) for _ in range(5)]}
    if subject == "demo":
        return _demo()
    return worker_result("benchmarks.foundation_worker", subject)


def figures(runs: list[Run]) -> dict[str, Figure]:
    """Ratios are medians over blocks of what one block's two subjects took."""
    by = {(run["settings"]["subject"], run["settings"]["block"]): run["result"] for run in runs}

    def blocks(subject: str, key: str) -> list[Any]:
        return [result[key] for (name, _), result in sorted(by.items()) if name == subject]

    step_s = [median(values) for values in blocks("trainer_step", "step_s")]
    bare_s = [median(values) for values in blocks("bare_loop", "step_s")]
    pipeline = blocks("pipeline", "images_per_s")
    peer = blocks("torchvision_pipeline", "images_per_s")
    start = {
        subject: [value for block in blocks(subject, "seconds") for value in block] for subject in STARTS
    }
    overhead = [value for block in blocks("predict", "overhead_us") for value in block]
    export = by["export", 0]
    return {
        "demo_job_s": spread(
            blocks("demo", "seconds"),
            "s",
            "`compactor run digits` from nothing, data cache included",
            "<= 120",
            ("demo",),
        ),
        "import_compactor_s": spread(
            start["import_compactor"],
            "s",
            "process that imports compactor, start to end",
            "<= 0.15",
            ("start",),
        ),
        "help_s": spread(start["help"], "s", "`compactor --help`, start to end", "<= 0.4", ("start",)),
        "bare_python_s": spread(
            start["python"], "s", "the floor of both: a Python process that does nothing", arms=("start",)
        ),
        "trainer_step_ratio": spread(
            [bare / step for bare, step in zip(bare_s, step_s, strict=True)],
            "",
            "hand-written loop's step time over fit()'s, resnet20, batch 128; fit() also augments",
            ">= 0.97",
            ("trainer",),
        ),
        "trainer_images_per_s": spread(
            [128 / value for value in step_s],
            "images/s",
            "fit(), resnet20, batch 128, all cores",
            arms=("trainer",),
        ),
        "pipeline_step_ratio": spread(
            [rate * step / 128 for rate, step in zip(pipeline, step_s, strict=True)],
            "",
            "data pipeline on one core (pad-crop, flip) over fit() on all cores, images/s",
            ">= 20",
            ("pipeline", "trainer"),
        ),
        "pipeline_images_per_s": spread(
            pipeline,
            "images/s",
            "data pipeline on one core, pad-crop and flip, 32 x 32",
            arms=("pipeline",),
        ),
        "pipeline_vs_torchvision": spread(
            [ours / theirs for ours, theirs in zip(pipeline, peer, strict=True)],
            "",
            "data pipeline over torchvision transforms on PIL images, one thread each",
            arms=("pipeline",),
        ),
        "predict_overhead_us": spread(
            overhead,
            "us",
            "predict(PNG bytes) minus PIL decoding and session.run, digits bundle, one thread",
            "<= 40",
            ("predict",),
        ),
        "export_max_abs_diff": Figure(
            export["max_abs_diff"],
            "logit",
            export["n"],
            export["max_abs_diff"],
            export["max_abs_diff"],
            f"ONNX fp32 against torch, resnet20, real-valued samples; limit {export['limit']:.2g}",
            "<= its limit",
            ("export",),
        ),
    }


def _start(subject: str) -> float:
    compactor = str(Path(sys.executable).parent / "compactor")
    command = {
        "import_compactor": [sys.executable, "-c", "import compactor"],
        "help": [compactor, "--help"],
        "python": [sys.executable, "-c", ""],
    }[subject]
    started = perf_counter()
    subprocess.run(command, check=True, capture_output=True, cwd=tempfile.gettempdir())
    return perf_counter() - started


def _demo() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "COMPACTOR_CACHE": f"{folder}/cache"}
        command = [str(Path(sys.executable).parent / "compactor"), "run", "digits", "--quiet"]
        started = perf_counter()
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        seconds = perf_counter() - started
        if done.returncode:
            raise RuntimeError(f"demo: {done.stderr[-2000:]}")
    return {"seconds": seconds}
