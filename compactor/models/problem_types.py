"""Classifiers of transformers that answer something else than one class, by what their configuration says."""

from collections.abc import Iterable
from pathlib import Path

from compactor.data.token_limits import read_json
from compactor.locate import locate_model
from compactor.recipe.spec import ModelSpec
from compactor.records import IMAGES, TEXTS
from compactor_runtimes.errors import UsageError

REFUSED = {
    "multi_label_classification": "to name several classes at once",
    "regression": "to tell a number",
}


def require_one_class(model: str, problem_type: object) -> None:
    """Refuse a trained classifier whose answers are no probabilities of classes that exclude each other.

    Raises:
        UsageError: it was trained for another problem.
    """
    if isinstance(problem_type, str) and problem_type in REFUSED:
        raise UsageError(
            f"model {model}: was trained {REFUSED[problem_type]} (problem_type {problem_type}), expected one "
            "that names one of its classes; such tasks are not supported, name another model"
        )


def require_classifiers(models: Iterable[ModelSpec | str | None], task: str, base: Path) -> None:
    """Refuse classifiers of other problems among a recipe's models, before any is opened.

    Args:
        models: entries; stages and models of the hub are not looked into.
        task: of the stage; for those that take an encoder alone its head does not matter.
        base: folder of the recipe.

    Raises:
        UsageError: one was trained for another problem.
    """
    for one in models if task in (IMAGES, TEXTS) else ():
        if (
            not isinstance(one, ModelSpec)
            or one.weights != "pretrained"
            or one.family not in ("hf", "package")
        ):
            continue
        folder = locate_model(one.model, base)
        if folder is not None:
            require_one_class(one.model, read_json(folder / "config.json").get("problem_type"))
