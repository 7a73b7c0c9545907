"""Classifiers that answer something else than a task asks, by what their configuration or family says."""

from collections.abc import Iterable
from pathlib import Path

from compactor.data.token_limits import read_json
from compactor.locate import locate_model
from compactor.models.stated_classes import names_in_config
from compactor.recipe.spec import ModelSpec
from compactor.records import IMAGES, TEXTS, has_several
from compactor_runtimes.errors import UsageError

SEVERAL = "multi_label_classification"
REFUSED = {
    SEVERAL: "to name several classes at once",
    "regression": "to tell a number",
}


def require_one_class(model: str, problem_type: object) -> None:
    """Refuse a trained classifier whose answers are no probabilities of classes that exclude each other.

    Raises:
        UsageError: it was trained for another problem.
    """
    if isinstance(problem_type, str) and problem_type in REFUSED:
        several = problem_type == SEVERAL
        way_out = "set a multi-label task, or" if several else "such tasks are not supported,"
        raise UsageError(
            f"model {model}: was trained {REFUSED[problem_type]} (problem_type {problem_type}), expected one "
            f"that names one of its classes; {way_out} name another model"
        )


def require_no_number(model: str, problem_type: object) -> None:
    """Refuse a model that tells a number, for a task of any number of labels.

    Raises:
        UsageError: it does.
    """
    if problem_type == "regression":
        raise UsageError(
            f"model {model}: was trained to tell a number (problem_type regression), expected one that names "
            "labels; name another model"
        )


def require_classifiers(
    models: Iterable[ModelSpec | str | None],
    task: str,
    base: Path,
    *,
    learners: Iterable[ModelSpec | str | None] = (),
) -> None:
    """Refuse classifiers of other problems among a recipe's models, before any is opened.

    Args:
        models: entries that answer as they are; stages and models of the hub are not looked into.
        task: of the stage; for those that take an encoder alone its head does not matter.
        base: folder of the recipe.
        learners: entries that are trained for the task, whatever one class or labels they told apart before.

    Raises:
        UsageError: one was trained for another problem.
    """
    several = has_several(task)
    if not several and task not in (IMAGES, TEXTS):
        return
    for one, learns in [*((each, False) for each in models), *((each, True) for each in learners)]:
        if not isinstance(one, ModelSpec) or one.weights != "pretrained":
            continue
        if several and not learns and one.family == "timm":
            raise UsageError(
                f"model {one.model}: its published weights name one class of an image, task {task} asks for "
                "any number of labels; train it on the task first and name its weights, or that stage"
            )
        folder = locate_model(one.model, base) if one.family in ("hf", "package") else None
        if folder is None:
            continue
        config = read_json(folder / "config.json")
        problem = config.get("problem_type")
        if not several:
            require_one_class(one.model, problem)
            continue
        require_no_number(one.model, problem)
        if not learns and problem != SEVERAL and names_in_config(config) is not None:
            raise UsageError(
                f"model {one.model}: names one of its classes (problem_type {problem or 'absent'}), task "
                f"{task} asks for any number of labels; name a model of problem_type {SEVERAL}, or set that "
                "in its config.json if it was trained so"
            )
