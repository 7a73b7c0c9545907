"""What counts as the truth where labels are missing, and when two answers are the same."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor, nn

from compactor.evaluation import same_answers, select_figures, split_labels, student_answers, truth_labels
from compactor.tasks import task_named
from compactor.tasks.texts import TextSplit
from compactor_runtimes.errors import UsageError
from tests import toys
from tests.compactor.text_toys import WORDS, text_info

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


class _ByIds(nn.Module):
    """Answers by a text's own tokens, whatever stands beside it in the batch."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        total = (input_ids * attention_mask).sum(1)
        return {"label": nn.functional.one_hot(total % 3, 3).float()}


def test_select_is_asked_by_length_and_judged_in_its_own_order(tmp_path: Path) -> None:
    texts = task_named("text-classification")
    lines = [
        " ".join(WORDS[(row * step) % len(WORDS)] for step in range(row * 7 % 9 + 1)) for row in range(70)
    ]
    text = text_info(tmp_path).text
    assert text is not None
    split = TextSplit("select", np.array(lines, dtype=object), {}, np.arange(70), "toy", text=text)
    told = student_answers(_ByIds(), texts.batches(split))["label"].argmax(-1)
    assert len(set(told.tolist())) == 2
    split.labels["label"] = told
    shown: list[int] = []
    model = _ByIds()
    model.register_forward_hook(lambda *seen: shown.append(seen[-1]["label"].shape[0]))
    padded: list[int] = []
    model.register_forward_pre_hook(
        lambda _, __, feeds: padded.append(feeds["input_ids"].shape[1]), with_kwargs=True
    )
    assert select_figures(texts, split)(model)["select_accuracy"] == 1.0
    assert shown == [64, 6]
    assert padded[0] <= padded[1]
