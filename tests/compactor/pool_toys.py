"""A small recipe with a pool: digits, a folder of images with planted copies, and a teacher."""

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from compactor.data.datasets import open_dataset
from compactor.data.spec import DataSpec
from compactor.data.splits import Dataset
from compactor.models.build import build_model, save_model
from compactor.recipe.spec import ModelSpec
from tests.command_line import Answer, compactor

TEACHER = {"model": "cifar:resnet8", "options": {"width": 4}}
LIMIT = {"train": 200}
NEW, PLANTED = 60, 5
"""Images of the folder that are nobody's copies, and how many of report, and of select, it shows again."""


def digits() -> Dataset:
    return open_dataset(DataSpec(dataset="digits", limit={"train": LIMIT["train"]}), base=Path.cwd())


def write_png(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image[..., 0]).save(path)


def make(folder: Path) -> None:
    """Write recipe, weights and images into a folder; the weights are random, which is cheap and said."""
    data = digits()
    spec = ModelSpec(**TEACHER)
    save_model(build_model(spec, data.info, base=folder, seed=1), spec, folder / "teacher")
    rng = np.random.default_rng(0)
    for number in range(NEW):
        blank = rng.integers(0, 256, (8, 8, 1), dtype=np.uint8)
        write_png(folder / "images" / f"new-{number:03d}.png", blank)
    for split in (data.report, data.select):
        for row in split.rows[:PLANTED]:
            write_png(folder / "images" / f"{split.name}-{row}.png", split.inputs[row])
    teacher = TEACHER | {"weights": "teacher/model.safetensors", "trust_teacher": True}
    recipe: dict[str, Any] = {
        "name": "toy",
        "task": "image-classification",
        "data": {"dataset": "digits", "limit": LIMIT, "also": [{"dataset": "runs/toy/pool/pool.json"}]},
        "student": {"model": "cifar:resnet8", "options": {"width": 4}},
        "teachers": [teacher],
        "stages": [{"id": "distil", "method": "kd", "epochs": 1, "batch_size": 64, "lr": 0.05}],
        "pool": {"sources": [{"dataset": "images"}, {"dataset": "digits"}], "take": {"top": 20}},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))


def build(folder: Path, *arguments: str) -> Answer:
    return compactor("pool", "build", "recipe.yaml", *arguments, cwd=folder, env=cache(folder))


def inspect(folder: Path, *arguments: str) -> Answer:
    return compactor("pool", "inspect", "runs/toy/pool", *arguments, cwd=folder, env=cache(folder))


def cache(folder: Path) -> dict[str, str]:
    return {"COMPACTOR_CACHE": str(folder / "cache"), "COLUMNS": "200"}


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a pool but the locks, which are empty."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".lock")
    }
