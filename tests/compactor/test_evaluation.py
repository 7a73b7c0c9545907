"""What counts as the truth where labels are missing, and when two answers are the same."""

from typing import Any

import numpy as np
import pytest

from compactor.evaluation import same_answers, split_labels, truth_labels
from compactor.tasks import task_named
from compactor_runtimes.errors import UsageError
from tests import toys

IMAGES = task_named("image-classification")


def unlabelled() -> Any:
    data = toys.split(6)
    data.labels["label"][:] = -100
    return data


def test_labels_are_the_truth_and_the_teachers_where_there_are_none() -> None:
    teacher = np.eye(3, dtype=np.float32)[[2, 0, 1, 2, 0, 1]]
    labelled = toys.split(6)
    assert truth_labels(IMAGES, labelled, teacher).tolist() == [0, 1, 2, 0, 1, 2]
    assert truth_labels(IMAGES, unlabelled(), teacher).tolist() == [2, 0, 1, 2, 0, 1]
    with pytest.raises(UsageError, match="the train split has no labels and there is no teacher"):
        truth_labels(IMAGES, unlabelled(), None)


def test_the_same_answer_is_the_same_class_of_every_head_or_the_same_direction() -> None:
    one = {"a": np.array([[0.0, 1.0], [1.0, 0.0]]), "b": np.array([[0.0, 1.0], [1.0, 0.0]])}
    other = {"a": np.array([[0.0, 9.0], [1.0, 0.0]]), "b": np.array([[0.1, 0.2], [0.0, 1.0]])}
    assert same_answers(IMAGES, one, other).tolist() == [True, False]
    embedding = task_named("embedding")
    east = np.array([[1.0, 0.0]] * 3)
    turned = np.array([[2.0, 0.0], [1.0, 0.04], [1.0, 0.05]])  # cosines 1, 0.99920, 0.99875
    found = same_answers(embedding, {"embedding": east}, {"embedding": turned})
    assert found.tolist() == [True, True, False]
    assert (split_labels(embedding, toys.split(6)) == -100).all()
