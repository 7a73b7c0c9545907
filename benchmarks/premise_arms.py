"""The arms of suite `ferkd_premise`, and their recipes as plain data.

Imagenette: a real ImageNet classifier that was not trained here teaches a small student from crops that often
miss the object. CIFAR-10: teachers of one size that have, and have not, seen the images which they label.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.arms import CACHE

NAME = "ferkd_premise"
LITE0 = (
    Path("benchmarks") / ".cache" / NAME / "lite0.safetensors"
)  # from the repository's root, as suites run
THRESHOLDS = {"low": 0.05, "mid": 0.2}
ONLINE = {"divergence": "soft_ce", "temperature": 1.0, "soft_weight": 1.0}
FERKD = {"crops_per_image": 4, "thresholds": THRESHOLDS, "mixing": "self"}
FOLDS = 3


@dataclass(frozen=True)
class Arm:
    """A method and its options; `labels` says whose it learns from: a store, a live teacher, or the truth."""

    what: str
    method: str
    options: dict[str, Any] = field(default_factory=dict)
    labels: str = "store"
    seeds: int = 1


IMAGENETTE: dict[str, Arm] = {
    "hard": Arm("hard labels", "supervised", labels="truth", seeds=3),
    "live": Arm("live teacher, the loss of FKD", "kd", ONLINE, labels="live", seeds=3),
    "fkd_n1": Arm("FKD, 1 crop an image", "fkd", {"crops_per_image": 1}, seeds=3),
    "fkd_n2": Arm("FKD, 2 crops an image", "fkd", {"crops_per_image": 2}),
    "fkd_n4": Arm("FKD, 4 crops an image", "fkd", {"crops_per_image": 4}, seeds=3),
    "drop": Arm(
        "FKD without the 5% of crops that the teacher is least sure of",
        "ferkd",
        {"crops_per_image": 4, "thresholds": {"low": 0.05}, "mixing": "none"},
    ),
    "relabel": Arm(
        "FKD with softened ground truth on the 20% of crops that it is least sure of",
        "ferkd",
        {"crops_per_image": 4, "thresholds": {"mid": 0.2}, "mixing": "none"},
    ),
    "selfmix": Arm("FKD with crops of an image mixed", "fkd", {"crops_per_image": 4, "mixing": "self"}),
    "ferkd": Arm("FerKD", "ferkd", FERKD, seeds=3),
}
TAUGHT = {
    "kd": ("KD from stored labels, FKD's loss, 1 crop an image", "kd", ONLINE),
    "fkd_n4": ("FKD, 4 crops an image", "fkd", {"crops_per_image": 4}),
    "ferkd": ("FerKD", "ferkd", FERKD),
}
ON_CIFAR = "CIFAR-10, "
BY = {"memorised": "a teacher of all images", "cross_fitted": f"{FOLDS} teachers, each without a fold"}
CIFAR: dict[str, Arm] = {
    f"{name}_{by}": Arm(f"{ON_CIFAR}{what}, by {who}", method, options, labels=by, seeds=3)
    for name, (what, method, options) in TAUGHT.items()
    for by, who in BY.items()
}
ARMS = IMAGENETTE | CIFAR
LABELS = {
    "labels": "fkd_n1",
    **{f"labels_{by}": f"kd_{by}" for by in BY},
}  # arm that is only labelled for
ANCHORS = {"fkd_n1": tuple(IMAGENETTE), "kd_memorised": tuple(CIFAR)}  # whose rate a family takes

SIZES: dict[str, dict[str, Any]] = {
    "imagenette96": {"train": 2_500, "epochs": 60, "batch": 64, "crops": 16},
    "cifar10": {"train": 5_000, "epochs": 30, "batch": 80, "crops": 16, "select": 2_500},
}
STUDENTS = {
    "imagenette96": {"model": "timm:test_efficientnet"},  # 101,766 parameters
    "cifar10": {"model": "cifar:resnet8"},
}
TEACHER = {
    "model": "timm:tf_efficientnet_lite0",
    "weights": "pretrained",
    "options": {"pretrained_cfg_overlay": {"file": str(LITE0)}},
    "mean": [127 / 255] * 3,
    "std": [128 / 255] * 3,
    "image_size": 128,
    "classes": "subset",
}
TRAINED_TEACHER = {
    "id": "teacher",
    "method": "supervised",
    "student": {"model": "cifar:resnet20"},
    "epochs": 30,
    "batch_size": 128,
    "lr": 0.1,
    "nesterov": True,
    "weight_decay": 5e-4,
    "seed": 0,  # one for all students; without augmentation, so that it knows by heart what it has seen
}
SEEN = {
    "imagenette96": {"crop": "random-resized", "scale": [0.08, 1.0], "flip": True},
    "cifar10": {"crop": "pad", "padding": 4, "flip": True},
}


def training_recipe(name: str, rate: float, seed: int) -> Any:
    """The recipe of an arm with one rate and seed."""
    from compactor.recipe.load import LoadedRecipe, parse_recipe

    arm, data = ARMS[name], "imagenette96" if name in IMAGENETTE else "cifar10"
    size = SIZES[data]
    student: dict[str, Any] = {
        "id": "distil",
        "method": arm.method,
        "options": arm.options,
        "epochs": size["epochs"],
        "batch_size": size["batch"],
        "lr": rate,
        "weight_decay": 5e-4,
        "warmup_epochs": 1.0,
        "augment": SEEN[data],
    }
    if arm.labels not in ("truth", "live"):
        student["labels"] = {"crops": size["crops"]}
    if arm.labels == "cross_fitted":
        student["labels"]["cross_fit"] = FOLDS
    live = TEACHER | {"runtime": "ort-fp32"}  # which a person with a deadline would take
    stages, teachers = [student], {"store": [TEACHER], "live": [live]}.get(arm.labels, [])
    if arm.labels in BY:
        stages, student["teachers"] = [TRAINED_TEACHER, student], ["stage:teacher"]
    plain = {
        "name": f"{NAME}-{data}".replace("_", "-"),
        "task": "image-classification",
        "seed": seed,
        "data": {"dataset": data, "limit": {name: size[name] for name in ("train", "select") if name in size}}
        | ({"image_size": 64} if data == "imagenette96" else {}),
        "student": STUDENTS[data],
        "teachers": teachers,
        "stages": stages,
        "measure": {"scenarios": []},
    }
    return LoadedRecipe(parse_recipe(plain), CACHE.parent.parent, NAME)


def write_teacher() -> None:
    """Put the package's ImageNet weights where the recipe names them; equal weights give an equal file."""
    if LITE0.is_file():
        return
    import timm
    from safetensors.torch import save_file

    from benchmarks.export_models import lite0_weights

    names = timm.create_model("tf_efficientnet_lite0").state_dict()
    LITE0.parent.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: value.contiguous() for name, value in zip(names, lite0_weights(), strict=True)}, str(LITE0)
    )
