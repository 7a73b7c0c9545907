"""A student with subclasses goes the whole way: it learns them, and ships two classes that verify."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from compactor_runtimes.bundle.open import open_bundle
from compactor_runtimes.predict.loading import load
from tests.command_line import compactor


@pytest.mark.heavy
def test_a_student_of_grouped_digits_is_exported_verified_and_answers_with_two_classes(
    tmp_path: Path,
) -> None:
    """Digits below and above five: the teacher and the student know two classes alone."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number in range(500):
        folder = tmp_path / "data" / ("low" if digits.target[number] < 5 else "high")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = (digits.images[number] / 16 * 255).astype(np.uint8)
        Image.fromarray(pixels).resize((16, 16)).save(folder / f"{number:04d}.png")
    short = {"epochs": 3, "lr": 0.1, "batch_size": 64}
    recipe = {
        "name": "grouped",
        "task": "image-classification",
        "data": {"dataset": str(tmp_path / "data"), "image_size": 16},
        "student": {"model": "cifar:resnet8", "options": {"width": 8}, "subclasses": 5},
        "stages": [
            {"id": "teacher", "method": "supervised", "student": {"model": "cifar:resnet8"}, **short},
            {"id": "distil", "method": "lelp", "teachers": ["stage:teacher"], **short},
        ],
        "measure": {"profile": "smoke"},
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    done = compactor("run", str(path), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 subclasses a class, beta" in done.stderr.replace("\n", " ")
    bundle = tmp_path / "runs" / "grouped" / "latest" / "bundle"
    assert compactor("verify", str(bundle), cwd=tmp_path).returncode == 0
    (output,) = open_bundle(bundle).manifest.components["main"].outputs
    assert output.axes[-1] == 2
    answer = load(bundle).predict(str(next((tmp_path / "data" / "low").iterdir())))
    assert answer.label in ("low", "high")
