"""A real text model: MiniLM fine-tuned on intents, three of its layers distilled from it, and exported.

Trains the shipped recipe `clinc-intents`. One seed: the figures say how good the result is, not that
distillation helped.
"""

from typing import Any

from benchmarks.arms import kept, train
from benchmarks.figures import Figure, Run
from benchmarks.suites.cifar10_kd import onnx_agreement

NAME = "text"
COMMAND = "make acceptance"
COMPUTES = {"": ("compactor.release.artifacts",)}
SETTINGS = {"recipe": "clinc-intents"}


def plan(runs: list[Run]) -> list[dict[str, Any]]:
    """One run."""
    return [{"recipe": "clinc-intents", "seed": 0}]


def recipe(settings: dict[str, Any]) -> Any:
    """Return the recipe as shipped."""
    from compactor.recipe.load import load_recipe

    return load_recipe(settings["recipe"], [f"seed={settings['seed']}"])


def execute(settings: dict[str, Any]) -> dict[str, Any]:
    """Train teacher and student; keep what each gets right on the report split."""
    from compactor.tasks.texts import TEXT_CLASSIFICATION

    loaded = recipe(settings)
    trained = train(loaded, NAME)
    teacher = train(_first_stage(loaded), NAME)
    return {
        "right": {
            "teacher": _right(teacher.student, trained.data, TEXT_CLASSIFICATION),
            "student": _right(trained.student, trained.data, TEXT_CLASSIFICATION),
        },
        "n": len(trained.data.report),
        "same": onnx_agreement(trained.student, trained.data, TEXT_CLASSIFICATION),
        **kept(trained),
    }


def _first_stage(loaded: Any) -> Any:
    """The recipe's first stage alone, which is in the cache."""
    import msgspec

    replace = msgspec.structs.replace
    return replace(loaded, recipe=replace(loaded.recipe, stages=loaded.recipe.stages[:1]))


def _right(student: Any, data: Any, task: Any) -> int:
    from compactor.evaluation import split_labels, student_answers
    from compactor_runtimes.stats.metrics import correct

    answers = student_answers(student, task.batches(data.report))[task.head.name]
    return int(correct(answers, split_labels(task, data.report)).sum())


def figures(runs: list[Run]) -> dict[str, Figure]:
    """Accuracy of teacher and student, and agreement of the exported student with the torch one."""
    from compactor_runtimes.stats.metrics import wilson

    result = runs[0]["result"]
    n = result["n"]

    def share(count: int, about: str) -> Figure:
        low, high = wilson(count, n)
        return Figure(count / n, "share", n, low, high, about)

    right = result["right"]
    return {
        "clinc_teacher_acc": share(
            right["teacher"], "MiniLM-L6 fine-tuned on a subset of clinc150, test rows"
        ),
        "clinc_student_acc": share(
            right["student"], "three of its layers, distilled on the same subset, test rows"
        ),
        "clinc_onnx_agreement": share(result["same"], "ONNX fp32 and torch student: same intent, test rows"),
    }
