"""A composed multi-label data set, and two arms on it: plain binary cross-entropy, and distillation.

An image is 2 x 2 tiles of scikit-learn's digits (some tiles empty) under noise, 16 x 16 grey pixels; its
labels are the digits that are there. The digits of train, select and report are different ones.
"""

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from compactor.recipe.load import LoadedRecipe

SEED = 7
ROWS = {"train": 3_000, "validation": 500, "test": 1_000}
PARTS = {"train": (0, 1_100), "validation": (1_100, 1_350), "test": (1_350, 1_797)}  # of the digits' rows
EMPTY = 0.3  # share of tiles without a digit
NOISE = 70.0  # standard deviation, in grey levels
CLASSES = [str(digit) for digit in range(10)]
ARMS = ("supervised", "kd")
STEPS, TEACHER_STEPS, BATCH = 400, 600, 64
STUDENT = {"model": "cifar:resnet8", "options": {"width": 4}}
TEACHER = {"model": "cifar:resnet14", "options": {"width": 16}}
METHODS: dict[str, dict[str, Any]] = {
    "supervised": {"method": "supervised"},
    "kd": {
        "method": "kd",
        "teachers": ["stage:teacher"],
        "options": {"divergence": "sym_kl", "temperature": 1.0, "soft_weight": 0.5},
    },
    "ssld": {"method": "ssld", "teachers": ["stage:teacher"], "options": {"hard_weight": 1.0}},
}


def compose(folder: Path, rows: dict[str, int] | None = None) -> Path:
    """Write `<split>.parquet` with columns `image` (PNG) and `labels` (a list of names).

    Args:
        folder: created if need be; equal arguments give equal files.
        rows: of each split; absent = 3,000, 500 and 1,000.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image
    from sklearn import datasets

    digits = datasets.load_digits()
    folder.mkdir(parents=True, exist_ok=True)
    for number, (split, count) in enumerate((rows or ROWS).items()):
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([SEED, number])))
        images, labels = [], []
        for _ in range(count):
            canvas, found = np.zeros((16, 16)), set()
            for top in (0, 8):
                for left in (0, 8):
                    if rng.random() < EMPTY:
                        continue
                    row = int(rng.integers(*PARTS[split]))
                    canvas[top : top + 8, left : left + 8] = digits.images[row] * (255 / 16)
                    found.add(str(digits.target[row]))
            noisy = np.clip(canvas + rng.normal(0, NOISE, canvas.shape), 0, 255).astype(np.uint8)
            stream = io.BytesIO()
            Image.fromarray(noisy).save(stream, "PNG")
            images.append(stream.getvalue())
            labels.append(sorted(found))
        table = pa.table(
            {"image": pa.array(images, pa.binary()), "labels": pa.array(labels, pa.list_(pa.string()))}
        ).replace_schema_metadata({"classes": json.dumps(CLASSES)})
        pq.write_table(table, folder / f"{split}.parquet")
    return folder


def recipe(folder: Path, arm: str, *, seed: int = 0, lr: float = 0.05) -> dict[str, Any]:
    """The recipe of an arm as plain data; students learn equally long, one teacher serves all seeds."""
    training = {"batch_size": BATCH, "lr": lr, "nesterov": True, "clip_norm": 5.0}
    teacher = {"id": "teacher", "method": "supervised", "student": TEACHER, "steps": TEACHER_STEPS, "seed": 0}
    teacher |= training
    return {
        "name": f"multi-label-{arm}",
        "task": "image-multi-label",
        "seed": seed,
        "data": {"dataset": str(folder), "label_column": "labels", "color": "grey"},
        "student": STUDENT,
        "stages": [
            *([teacher] if "teachers" in METHODS[arm] else []),
            {"id": "student", "steps": STEPS, **training, **METHODS[arm]},
        ],
        "measure": {"scenarios": []},
    }


def load(folder: Path, arm: str, *, seed: int = 0, lr: float = 0.05) -> "LoadedRecipe":
    """The recipe of an arm, checked, as `run_recipe` and `benchmarks.arms.train` take it."""
    import yaml

    from compactor.recipe.load import load_recipe

    path = folder / f"{arm}-{seed}.yaml"
    path.write_text(yaml.safe_dump(recipe(folder, arm, seed=seed, lr=lr), sort_keys=False), encoding="utf-8")
    return load_recipe(str(path))


def score_report(trained: Any) -> dict[str, Any]:
    """What a trained student reaches on report: our mAP, and logits with labels for anybody else's.

    Args:
        trained: what `benchmarks.arms.train` gave.
    """
    from compactor.evaluation import split_labels, student_answers
    from compactor.tasks import task_named
    from compactor_runtimes.stats.multi_label import mean_average_precision

    task = task_named("image-multi-label")
    split = trained.data.report
    logits = student_answers(trained.student, task.batches(split))[task.head.name]
    labels = split_labels(task, split)
    return {"map": mean_average_precision(logits, labels), "logits": logits, "labels": labels}
