"""A student that starts from a model of other classes takes the rows of its last layer by name."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from compactor.models.class_rows import load_by_class
from compactor.models.classifier import Backbone, ImageClassifier
from compactor.models.subclasses import widen
from compactor_runtimes.errors import UsageError
from tests import toys


def model(classes: list[str], seed: int) -> ImageClassifier:
    torch.manual_seed(seed)
    return ImageClassifier(
        Backbone(toys.Mlp(num_classes=len(classes)), [0.5], [0.5]), toys.info(classes=classes)
    )


def saved(path: Path, classes: list[str]) -> dict[str, torch.Tensor]:
    state = model(classes, seed=1).backbone.state_dict()
    save_file(state, path)
    return state


def test_known_rows_are_copied_by_name_and_new_ones_stay_as_drawn(tmp_path: Path) -> None:
    old = saved(tmp_path / "old.safetensors", ["Star", "moon", "circle"])
    student = model(toys.CLASSES, seed=2)
    drawn = {key: value.clone() for key, value in student.backbone.state_dict().items()}
    told = load_by_class(
        student, tmp_path / "old.safetensors", ["Star", "moon", "circle"], source="stage:old"
    )
    state = student.backbone.state_dict()
    assert torch.equal(state["body.1.weight"], old["body.1.weight"])
    for name in ("head.weight", "head.bias"):
        assert torch.equal(state[name][[0, 2]], old[name][[2, 0]])  # circle, star
        assert torch.equal(state[name][1], drawn[name][1])  # square
    assert told == (
        "starts from stage:old, whose rows are taken by name: circle, star (2); square (1) are new, their "
        "rows are random; 1 classes of its own are left out"
    )


def test_what_cannot_be_taken_by_name_is_refused(tmp_path: Path) -> None:
    saved(tmp_path / "old.safetensors", ["moon", "sun"])
    with pytest.raises(
        UsageError, match=r"init stage:old: its classes \(moon, sun \(2\)\) .* share no class"
    ):
        load_by_class(
            model(toys.CLASSES, 2), tmp_path / "old.safetensors", ["moon", "sun"], source="stage:old"
        )
    wide = model(toys.CLASSES, 2)
    widen(wide, 2, "toy")
    with pytest.raises(UsageError, match="differ, and the last layer is not one linear layer"):
        load_by_class(wide, tmp_path / "old.safetensors", ["star"], source="stage:old")
    other = ImageClassifier(Backbone(toys.Mlp(num_classes=3, hidden=8), [0.5], [0.5]), toys.info())
    saved(tmp_path / "star.safetensors", ["star"])
    with pytest.raises(UsageError, match="do not fit Mlp"):
        load_by_class(other, tmp_path / "star.safetensors", ["star"], source="stage:old")
