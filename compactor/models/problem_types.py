"""Classifiers of transformers that answer something else than one class, by what their configuration says."""

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
