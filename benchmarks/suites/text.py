"""A real text model: MiniLM fine-tuned on intents, three of its layers distilled from it, and exported.

Trains the shipped recipe `clinc-intents` on all of clinc150, whose class "oos" is out of scope. An answer is
rejected where it is that class, or below a confidence that the recipe's `reject` chose on the select split
for each model; accuracy of all rows counts answers as they come. One seed: the figures say how good the
result is, not that distillation helped.
"""

from typing import Any

from benchmarks.arms import kept, train
from benchmarks.figures import Figure, Run
from benchmarks.suites.cifar10_kd import onnx_agreement

NAME = "text"
COMMAND = "make acceptance"
COMPUTES = {"": ("compactor.release.artifacts", "compactor.release.rejection")}
SETTINGS = {"recipe": "clinc-intents"}


def plan(runs: list[Run]) -> list[dict[str, Any]]:
    """One run."""
    return [{"recipe": "clinc-intents", "seed": 0}]


def recipe(settings: dict[str, Any]) -> Any:
    """Return the recipe as shipped."""
    from compactor.recipe.load import load_recipe

    return load_recipe(settings["recipe"], [f"seed={settings['seed']}"])


def execute(settings: dict[str, Any]) -> dict[str, Any]:
    """Train teacher and student; keep what each gets right, keeps and rejects on the report split."""
    from compactor.tasks.texts import TEXT_CLASSIFICATION

    loaded = recipe(settings)
    trained = train(loaded, NAME)
    models = {"teacher": train(_first_stage(loaded), NAME).student, "student": trained.student}
    return {
        "right": {who: _right(one, trained.data, TEXT_CLASSIFICATION) for who, one in models.items()},
        "n": len(trained.data.report),
        "scope": {
            who: _scope(one, loaded.recipe.reject, trained.data, TEXT_CLASSIFICATION)
            for who, one in models.items()
        },
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


def _scope(model: Any, reject: Any, data: Any, task: Any) -> dict[str, Any]:
    """Choose a model's threshold on select; [right and kept, all] in scope, [rejected, all] out of scope."""
    from compactor.evaluation import split_labels, student_answers
    from compactor.release.rejection import choose_rejection
    from compactor_runtimes.report import reject_row

    on_select = student_answers(model, task.batches(data.select))
    chosen = choose_rejection(reject, task, data, student=on_select, teacher=None)
    row = reject_row(
        "",
        "student",
        logits=student_answers(model, task.batches(data.report))[task.head.name],
        labels=split_labels(task, data.report),
        threshold=chosen.student,
        none=chosen.none,
        none_name=chosen.none_name,
        split=data.report.name,
    )
    return {
        "threshold": chosen.student,
        "in_scope": _counted(row.in_scope_accuracy),
        "oos": _counted(row.out_of_scope_recall),
    }


def _counted(rate: Any) -> list[int]:
    return [round(rate.value * rate.n), rate.n]


def figures(runs: list[Run]) -> dict[str, Figure]:
    """Accuracy of teacher and student, what they keep and reject, and agreement of the exported student."""
    from compactor_runtimes.stats.metrics import wilson

    result = runs[0]["result"]

    def share(count: int, about: str, n: int = result["n"]) -> Figure:
        low, high = wilson(count, n)
        return Figure(count / n, "share", n, low, high, about)

    right = result["right"]
    found = {
        "clinc_teacher_acc": share(right["teacher"], "MiniLM-L6 fine-tuned on clinc150, all test rows"),
        "clinc_student_acc": share(right["student"], "three of its layers, distilled, all test rows"),
        "clinc_onnx_agreement": share(result["same"], "ONNX fp32 and torch student: same intent, test rows"),
    }
    for who, one in result.get("scope", {}).items():  # runs from before answers were rejected have none
        name, at = f"clinc{'' if who == 'student' else '_teacher'}", f"below {one['threshold']:.2f} rejected"
        found[f"{name}_in_scope_acc"] = share(
            one["in_scope"][0], f"{who}, {at}: intent kept and right, test rows in scope", one["in_scope"][1]
        )
        found[f"{name}_oos_recall"] = share(
            one["oos"][0], f"{who}, {at}: rejected, test rows out of scope", one["oos"][1]
        )
    return found
