"""What suite `methods` trains beside its table: shares of the data, two classes, classes that come later,
groups of classes, questions to a teacher that errs. Recipes as plain data, and how students are scored.
"""

from typing import Any

from benchmarks.arms import Trained, kept
from benchmarks.method_arms import BATCH, KD, SCORER, Arm
from benchmarks.method_data import FOLDER, GROUPS, NAMES, OLD

SHARES = (0.1, 0.3)
RESNET8, RESNET20 = {"model": "cifar:resnet8"}, {"model": "cifar:resnet20"}
AUGMENT = {"crop": "pad", "padding": 4, "flip": True}
TEACHER_STEPS, OLD_STEPS, GROUP_STEPS, LABELLED_STEPS, STEPS = 1_200, 600, 400, 300, 600
BUDGET = 2_000  # questions to the teacher
RULES = ("robust", "margin", "uniform")
SAMPLERS: dict[str, dict[str, Any]] = {
    "static": {"name": "subset"},
    "rs2": {"name": "fresh-subset"},
    "el2n": {"name": "scored-subset", "options": {"by": "el2n", "scores": f"stage:{SCORER}"}},
}
SUBSETS: dict[str, Arm] = {
    f"{of}_{name}_{100 * share:.0f}": Arm(
        f"{what} on {100 * share:.0f}% of the data ({name})",
        method,
        options(share),
        taught,
        sampler={"name": sampler["name"], "options": sampler.get("options", {}) | {"share": share}},
        share=share,
    )
    for share in SHARES
    for name, sampler in SAMPLERS.items()
    for of, what, method, taught, options in (
        ("hard", "hard labels", "supervised", "nobody", lambda share: {}),
        ("kd", "KD", "kd", "store", lambda share: KD | {"soft_weight": 1 - share / 2}),
    )
}


def _stage(id: str, method: str, steps: int, **more: Any) -> dict[str, Any]:
    plain = {"id": id, "method": method, "steps": steps, "batch_size": BATCH, "nesterov": True, "lr": 0.1}
    return plain | {"augment": AUGMENT} | more


def _recipe(name: str, dataset: str, seed: int, stages: list[dict[str, Any]], **more: Any) -> Any:
    """A recipe of tables that `method_data` writes; stages that teach have seed 0 for all students."""
    from compactor.recipe.load import LoadedRecipe, parse_recipe

    plain = {
        "name": f"methods-{name.replace('_', '-')}",
        "task": "image-classification",
        "seed": seed,
        "data": {"dataset": dataset},
        "student": RESNET8,
        "stages": stages,
        "measure": {"scenarios": []},
    }
    return LoadedRecipe(parse_recipe(plain | more), FOLDER, name)


def _two_classes(arm: str, seed: int) -> Any:
    """LELP and KD from a teacher of two classes that each have five kinds of images."""
    lelp = arm == "two_lelp"
    options = {} if lelp else {"temperature": 1.0, "soft_weight": 1.0}
    return _recipe(
        arm,
        "two-classes",
        seed,
        [
            _stage("teacher-two", "supervised", TEACHER_STEPS, student=RESNET20, seed=0),
            _stage(
                "distil", "lelp" if lelp else "kd", STEPS, options=options, teachers=["stage:teacher-two"]
            ),
        ],
        student=RESNET8 | ({"subclasses": 5} if lelp else {}),
    )


def _incremental(arm: str, seed: int) -> Any:
    """Five classes first, then ten with few images of the old ones."""
    old = _stage("teacher-old", "supervised", OLD_STEPS, data={"dataset": "old"})
    both = _stage(
        "distil",
        "weight_aligning",
        STEPS,
        options={"align": False},
        init="stage:teacher-old",
        teachers=["stage:teacher-old"],
    )
    return _recipe(arm, "both", seed, [old, both])


def _groups(arm: str, seed: int) -> Any:
    """Four teachers of a group of classes each, weighed by PARC or alike, for students of few labels."""
    names = [f"teacher-group-{number}" for number in range(len(GROUPS))]
    taught = [
        _stage(name, "supervised", GROUP_STEPS, data={"dataset": f"group-{number}"}, seed=0)
        for number, name in enumerate(names)
    ]
    mixer = {"name": "parc", "options": {"power": {"groups_weighted": 9, "groups_equal": 0}[arm]}}
    student = _stage(
        "distil",
        "kd",
        STEPS,
        options={"temperature": 1.0, "soft_weight": 0.9},
        teachers=[f"stage:{name}" for name in names],
        mixer=mixer,
        data={"dataset": "few-labels", "also": [{"dataset": "few-labels-pool.parquet"}]},
    )
    return _recipe(arm, "few-labels", seed, [*taught, student])


def _questions(arm: str, seed: int) -> Any:
    """A student of few labels asks a teacher that is often wrong about some images of a pool."""
    rule = arm.removeprefix("asks_")
    options = {"budget": BUDGET, "rule": rule} | (
        {} if rule == "uniform" else {"scorer": "stage:teacher-first"}
    )
    return _recipe(
        arm,
        "few-labels",
        seed,
        [
            _stage(
                "teacher-asked",
                "supervised",
                OLD_STEPS,
                student=RESNET20,
                data={"dataset": "its-teacher"},
                seed=0,
            ),
            _stage("teacher-first", "supervised", LABELLED_STEPS),
            _stage(
                "distil",
                "kd",
                STEPS,
                options={"temperature": 1.0, "soft_weight": 0.9},
                teachers=["stage:teacher-asked"],
                sampler={"name": "query", "options": options},
                data={"dataset": "few-labels", "also": [{"dataset": "few-labels-pool.parquet"}]},
            ),
        ],
    )


PARTS = {
    "two_kd": _two_classes,
    "two_lelp": _two_classes,
    "incremental": _incremental,
    "groups_equal": _groups,
    "groups_weighted": _groups,
    **{f"asks_{rule}": _questions for rule in RULES},
}
WHAT = {
    "two_kd": "KD of two classes (T 1, no labels)",
    "two_lelp": "LELP of two classes, five subclasses each",
    "incremental": "weight aligning, five classes and then five more",
    "groups_equal": "four teachers of groups of classes, weighed alike",
    "groups_weighted": "four teachers of groups of classes, weighed by PARC^9",
    **{f"asks_{rule}": f"{BUDGET:,} questions to a teacher that errs, {rule}" for rule in RULES},
}


def part_recipe(arm: str, seed: int) -> Any:
    """The recipe of one of PARTS."""
    return PARTS[arm](arm, seed)


def calibration(trained: Trained, task: Any) -> dict[str, float]:
    """Expected calibration error on the report split, 15 bins."""
    from compactor.evaluation import split_labels, student_answers
    from compactor_runtimes.stats.metrics import ece
    from compactor_runtimes.stats.softmax import softmax

    logits = student_answers(trained.student, task.batches(trained.data.report))[task.head.name]
    return {"ece": float(ece(softmax(logits), split_labels(task, trained.data.report)))}


def score_incremental(trained: Trained, task: Any) -> dict[str, Any]:
    """Accuracy on the report rows of old and new classes, before and after the new classes' rows are aligned.

    The student was trained without aligning, so that both are told of one training.
    """
    import torch

    from compactor.evaluation import split_labels, student_answers
    from compactor.objectives.old_classes import align_rows
    from compactor.records import PENULTIMATE

    layer = trained.student.get_submodule(trained.student.features[PENULTIMATE].path)
    is_old = [NAMES.index(name) in OLD for name in trained.data.info.classes["label"]]
    truth, found = split_labels(task, trained.data.report), dict[str, Any]()
    for when in ("before", "after"):
        if when == "after":
            with torch.no_grad():
                found["gamma"] = align_rows(layer.weight, torch.tensor(is_old).nonzero().flatten())
        logits = student_answers(trained.student, task.batches(trained.data.report))[task.head.name]
        right = logits.argmax(-1) == truth
        for kind, wanted in (("old", True), ("new", False)):
            rows = [is_old[label] == wanted for label in truth.tolist()]
            found[f"{kind}_{when}"] = float(right[rows].mean())
        found[f"right_{when}"] = "".join(str(int(one)) for one in right)
    return found | kept(trained)
