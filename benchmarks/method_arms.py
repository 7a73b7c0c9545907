"""The arms of suite `methods`: the recipe `cifar10-kd`, with one method in the place of another.

All students are ResNet-8 from a random start with equal steps. Where a method can learn from a label store,
its labels come from one store of the teacher's answers on eight crops of each image; else the teacher runs
beside the student, or there is none.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

TRAIN_ROWS, STEPS, BATCH = 20_000, 1_000, 128
LABELS = {"crops": 8, "quantization": "full"}
SCORER = "teacher-scorer"  # kept by the suite, as all stages are whose id begins so
SCORER_STEPS = 300  # of a network early in its training, whose errors score the samples
PREVIOUS = "teacher-previous"  # kept by the suite: the student of hard labels that teaches its successor
TEACHER = {"model": "cifar:resnet56", "weights": "teachers/cifar10_akamaster/resnet56.safetensors"}


@dataclass(frozen=True)
class Arm:
    """A method and its options; `taught` says by whom: a label store, a live teacher, or nobody."""

    what: str
    method: str
    options: dict[str, Any] = field(default_factory=dict)
    taught: Literal["store", "live", "nobody", "itself"] = "store"
    student: dict[str, Any] = field(default_factory=dict)
    sampler: dict[str, Any] | None = None
    share: float = 1.0


KD: dict[str, Any] = {"temperature": 4.0, "soft_weight": 0.9}
MAPS = [{"loss": "attention", "name": f"stage{number}"} for number in (1, 2, 3)]
ARMS: dict[str, Arm] = {
    "hard": Arm("hard labels", "supervised", taught="nobody"),
    "kd": Arm("KD (T 4, soft weight 0.9)", "kd", KD),
    "pld": Arm("PLD", "pld"),
    "dkd": Arm("DKD", "kd", {"divergence": "dkd", "temperature": 4.0, "soft_weight": 0.5}),
    "dist": Arm("DIST", "kd", {"divergence": "dist", "temperature": 4.0, "soft_weight": 0.5}),
    "skd": Arm("spherical KD", "kd", {"divergence": "skd", "temperature": 4.0, "soft_weight": 0.9}),
    "wsl": Arm("WSL", "kd", {"divergence": "wsl", "temperature": 4.0, "soft_weight": 0.7}),
    "simclr_v2": Arm("SimCLRv2's step, no labels", "simclr_v2"),
    "first": Arm("FIRST (recalibrated top 5)", "first"),
    # its authors' weights for ResNet-56 and ResNet-20; their 20 epochs of 240 are half of one of six here
    "nd": Arm("ND", "nd", {"nd_weight": 2.0, "kd_warmup_epochs": 0.5}, taught="live"),
    "dual_head": Arm("Dual-Head KD", "dual_head", taught="live"),
    "lelp": Arm("LELP", "lelp", taught="live", student={"subclasses": 5}),
    "ps_kd": Arm("PS-KD, no teacher", "ps_kd", taught="nobody"),
    "sla": Arm("SLA and self-distillation, no teacher", "sla", taught="nobody"),
    "self_distillation": Arm(
        "self-distillation from hard labels' student", "self_distillation", {"alpha": 0.5}, taught="itself"
    ),
}
# one seed each
FEATURES: dict[str, Arm] = {
    "hint": Arm(
        "KD and FitNets' hint", "kd", KD | {"features": [{"loss": "hint", "name": "stage2"}]}, "live"
    ),
    "attention": Arm("KD and attention transfer", "kd", KD | {"features": MAPS}, "live"),
    "rkd": Arm("KD and RKD", "kd", KD | {"features": [{"loss": "rkd"}]}, "live"),
}


def training_recipe(arm: Arm, rate: float, seed: int) -> Any:
    """The recipe of an arm with one rate and seed; as much shorter as it visits fewer of the samples."""
    import msgspec

    from compactor.recipe.load import LoadedRecipe, load_recipe, parse_recipe

    shipped = load_recipe("cifar10-kd")
    plain: dict[str, Any] = msgspec.to_builtins(shipped.recipe)
    [stage] = plain["stages"]
    stage |= {"method": arm.method, "options": arm.options, "lr": rate, "batch_size": BATCH}
    stage |= {"epochs": None, "steps": round(STEPS * arm.share)}
    plain["student"] |= arm.student
    plain["data"]["limit"] = {"train": TRAIN_ROWS}
    if arm.taught == "store":
        stage["labels"] = LABELS
    if arm.taught == "nobody":
        plain["teachers"] = []
    if arm.taught == "itself":
        first = stage | {"id": PREVIOUS, "method": "supervised", "options": {}}
        stage["teachers"] = [f"stage:{PREVIOUS}"]
        plain["stages"], plain["teachers"] = [first, stage], []
    if arm.sampler is not None:
        stage["sampler"] = arm.sampler
        if "scores" in arm.sampler["options"]:
            scorer = {"id": SCORER, "method": "supervised", "options": {}, "steps": SCORER_STEPS, "seed": 0}
            plain["stages"] = [
                {key: stage[key] for key in stage if key not in ("labels", "sampler")} | scorer,
                stage,
            ]
    return LoadedRecipe(parse_recipe(plain | {"seed": seed}), shipped.base, shipped.name)
