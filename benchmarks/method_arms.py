"""The arms of suite `methods`: the recipe `cifar10-kd`, with one method in the place of another.

All students are ResNet-8 from a random start with equal steps. Where a method can learn from a label store,
its labels come from one store of the teacher's answers on eight crops of each image; else the teacher runs
beside the student, or there is none.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

TRAIN_ROWS, STEPS, BATCH = 20_000, 1_000, 128
LABELS = {"crops": 8, "quantization": "full"}
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


KD = {"temperature": 4.0, "soft_weight": 0.9}
ARMS: dict[str, Arm] = {
    "hard": Arm("hard labels", "supervised", taught="nobody"),
    "kd": Arm("KD (T 4, soft weight 0.9)", "kd", KD),
    "pld": Arm("PLD", "pld"),
    "dkd": Arm("DKD", "kd", {"divergence": "dkd", "temperature": 4.0, "soft_weight": 0.5}),
    "dist": Arm("DIST", "kd", {"divergence": "dist", "temperature": 4.0, "soft_weight": 0.5}),
    "skd": Arm("spherical KD", "kd", {"divergence": "skd", "temperature": 4.0, "soft_weight": 0.9}),
    "wsl": Arm("WSL", "kd", {"divergence": "wsl", "temperature": 4.0, "soft_weight": 0.7}),
    "simclr_v2": Arm(
        "SimCLRv2's step: soft cross-entropy alone", "kd", {"divergence": "soft_ce", "soft_weight": 1.0}
    ),
    "first": Arm("FIRST (recalibrated top 5)", "first"),
    "nd": Arm("ND", "nd", taught="live"),
    "dual_head": Arm("Dual-Head KD", "dual_head", taught="live"),
    "lelp": Arm("LELP", "lelp", taught="live", student={"subclasses": 5}),
    "ps_kd": Arm("PS-KD, no teacher", "ps_kd", taught="nobody"),
    "sla": Arm("SLA and self-distillation, no teacher", "sla", taught="nobody"),
    "self_distillation": Arm(
        "self-distillation from hard labels' student", "self_distillation", taught="itself"
    ),
}
# one seed each
FEATURES: dict[str, Arm] = {
    "hint": Arm("KD and FitNets' hint", "kd", KD | {"feature": {"loss": "hint"}}, "live"),
    "attention": Arm("KD and attention transfer", "kd", KD | {"feature": {"loss": "attention"}}, "live"),
    "rkd": Arm("KD and RKD", "kd", KD | {"feature": {"loss": "rkd"}}, "live"),
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
    return LoadedRecipe(parse_recipe(plain | {"seed": seed}), shipped.base, shipped.name)
