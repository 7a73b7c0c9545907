"""Size, exactness and speed of label stores: fresh processes, alternating subjects, nothing else running.

A block holds every timed subject once, in an order that is turned round from block to block; ratios are of
one block. Two teachers label CIFAR-10 crops; the student learns from hard labels, from them on-line and from
their store, through compactor's own training. What the teachers and the student cost by themselves is
measured beside it: together they bound what storing labels can save.
"""

import json
import subprocess
import sys
from dataclasses import replace
from statistics import mean
from typing import Any

from benchmarks.figures import Figure, Run, spread
from benchmarks.workers import ROOT

NAME = "label_store"
COMMAND = "make bench"
STORES = (
    "compactor.label_store.make",
    "compactor.label_store.store",
    "compactor.models.cifar",
    "compactor.tasks.image_classification",
    "compactor.data.named",
    "benchmarks.label_store_worker",
)
TRAINS = (
    "compactor.trainer.fit",
    "compactor.methods.supervised",
    "compactor.methods.kd",
    "compactor.methods.fkd",
    "benchmarks.peers.bare_loop",
)
COMPUTES = {"size": STORES, "speed": (*STORES, *TRAINS)}
TIMED = ("speed",)
BASE = {"teachers": ["resnet56", "resnet44"], "student": "resnet20", "crops": 16, "batch": 128}
STORE = {**BASE, "images": 2_560}
HARD_IMAGES = 10_000  # a pass of hard labels takes each image once, one from the store four times
SETTINGS = {
    **STORE,
    "data": "CIFAR-10",
    "crop": "random-resized, scale 0.25 to 1, flip",
    "crops_per_image": 4,
    "images_of_hard_and_online": HARD_IMAGES,
    "blocks": 5,
}
BLOCKS = 5
# about ten seconds each on two cores: images that are labelled, or steps
LENGTHS = {
    "labelling": {"images": 432},
    "teachers": {"steps": 54},
    "student_step": {"steps": 72, "images": HARD_IMAGES},
    "epoch_hard": {"steps": 72, "images": HARD_IMAGES},
    "epoch_fkd": {"steps": 72},
    "epoch_online": {"steps": 32, "images": HARD_IMAGES},
}


def plan(runs: list[Run]) -> list[dict[str, Any]]:
    """The sizes, then the blocks; every other one in the opposite order."""
    found = [{**STORE, "subject": "size", "block": 0}]
    for block in range(BLOCKS):
        order = list(LENGTHS) if block % 2 == 0 else list(LENGTHS)[::-1]
        found += [{**STORE, "subject": one, "block": block, **LENGTHS[one]} for one in order]
    return found


def arm(settings: dict[str, Any]) -> str:
    """Name what a run is of: bytes and divergences, or time."""
    return "size" if settings["subject"] == "size" else "speed"


def execute(settings: dict[str, Any]) -> dict[str, Any]:
    """Execute one subject in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.label_store_worker", json.dumps(settings)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{settings['subject']}: {done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def figures(runs: list[Run]) -> dict[str, Figure]:
    """Bytes and divergences of the store; ratios as medians over blocks."""
    sizes = {name: replace(one, arms=("size",)) for name, one in _sizes(runs[0]["result"]).items()}
    return sizes | {name: replace(one, arms=("speed",)) for name, one in _speeds(runs).items()}


def _sizes(result: dict[str, Any]) -> dict[str, Figure]:
    n = result["records"]
    rows = {
        (row["quantization"], row["k"], row["probabilities"], row["boxes"]): row for row in result["rows"]
    }

    def size(row: dict[str, Any], about: str, goal: str = "") -> Figure:
        value = row["bytes_per_crop"]
        return Figure(value, "B", n, value, value, f"{about}; all files over {n:,} crops", goal)

    ms5 = ("marginal-smoothing", 5, "float16")
    found = {
        "bytes_per_crop_ms5": size(
            rows[*ms5, "relative"],
            "5 classes of 10, float16 probabilities, float32 boxes",
            "<= 40, float32 boxes",
        ),
        "bytes_per_crop_ms5_pixels": size(
            rows[*ms5, "pixels"], "the same with int16 pixel boxes, the default"
        ),
        "bytes_per_crop_full": size(
            rows["full", 0, "float32", "relative"], "all 10 probabilities in float32, float32 boxes"
        ),
    }
    named = {
        "ms5": (ms5, "marginal smoothing, k 5, float16"),
        "ms5_float32": (("marginal-smoothing", 5, "float32"), "marginal smoothing, k 5, float32"),
        "ms3": (("marginal-smoothing", 3, "float16"), "marginal smoothing, k 3, float16"),
        "smoothing": (("smoothing", 1, "float16"), "smoothing, float16"),
    }
    for name, (key, about) in named.items():
        row = rows[*key, "pixels"]
        lost = row["kl_infinite"]  # of hard and re-norm labels every one is: they give some classes nothing
        said = f"KL of the teachers' mean to what is read back, {about}"
        said += f"; {lost:,} of {n:,} are infinite and left out" if lost else ""
        kept, value = n - lost, row["kl_mean"]
        error = 1.96 * row["kl_std"] / kept**0.5
        found[f"kl_mean_{name}"] = Figure(value, "nat", kept, value - error, value + error, said)
        if name == "ms5":
            most = row["kl_max"]
            found["kl_max_ms5"] = Figure(most, "nat", kept, most, most, f"largest {said}")
    return found


def _speeds(runs: list[Run]) -> dict[str, Figure]:
    by = {(run["settings"]["subject"], run["settings"]["block"]): run for run in runs}
    batch = runs[0]["settings"]["batch"]

    def blocks(subject: str) -> list[dict[str, Any]]:
        return [run["result"] for (name, _), run in sorted(by.items()) if name == subject]

    # a step's mean within a pass, as an epoch is made of all of its steps
    labelling = [result["crops_per_s"] for result in blocks("labelling")]
    step_s = {
        subject: [mean(result["step_s"]) for result in blocks(subject)]
        for subject in LENGTHS
        if subject != "labelling"
    }
    each = {subject: spread([batch / one for one in values], "", "") for subject, values in step_s.items()}
    hard, online, fkd = (step_s[f"epoch_{name}"] for name in ("hard", "online", "fkd"))
    teachers, student = step_s["teachers"], step_s["student_step"]
    speedup = [slow / fast for slow, fast in zip(online, fkd, strict=True)]
    bound = [(one + other) / one for one, other in zip(student, teachers, strict=True)]
    found = {
        "label_throughput_ratio": spread(
            [ours * bare / batch for ours, bare in zip(labelling, teachers, strict=True)],
            "",
            "labelling (crops cut, two teachers, mean, compression, files) over the teachers' bare forwards, "
            "crops/s",
            ">= 0.95",
        ),
        "label_crops_per_s": spread(labelling, "crops/s", "labelling with resnet56 + resnet44, all cores"),
        "epoch_ratio_vs_hard": spread(
            [ours / plain for ours, plain in zip(fkd, hard, strict=True)],
            "",
            "an epoch from the store, 4 crops an image, over one of hard labels: resnet20, as many samples",
            "<= 1.05",
        ),
        "epoch_speedup_vs_online": spread(
            speedup, "x", "an epoch with both teachers at work over one from their store, as many samples"
        ),
        "epoch_speedup_bound": spread(
            bound, "x", "student step and teacher forwards over student step, each alone"
        ),
        "epoch_speedup_of_bound": spread(
            [ours / most for ours, most in zip(speedup, bound, strict=True)],
            "",
            "of that bound, what the store reaches",
            ">= 0.85",
        ),
    }
    names = {
        "epoch_fkd": "fit() from the store",
        "epoch_hard": "fit() on hard labels",
        "epoch_online": "fit() with both teachers",
        "teachers": "both teachers' forwards alone",
        "student_step": "hand-written loop on prepared batches",
    }
    for subject, about in names.items():
        rates = each[subject]
        found[f"{subject}_per_s"] = Figure(
            rates.value,
            "samples/s",
            rates.n,
            rates.low,
            rates.high,
            f"{about}, resnet20, batch {batch}" if subject != "teachers" else f"{about}, batch {batch}",
        )
    return found
