"""Any number of labels on select: thresholds, whether answers are better than chance, and what is told."""

from pathlib import Path

import numpy as np
import pytest

from compactor.data.splits import Split
from compactor.evaluation import same_answers, select_figures, truth_labels
from compactor.recipe.spec import GatesSpec
from compactor.release.labels_check import check_label_answers
from compactor.release.readiness import readiness
from compactor.release.thresholds import choose_thresholds, told
from compactor.tasks import task_named
from compactor_runtimes.bundle.manifest import SigmoidPost
from compactor_runtimes.errors import UsageError
from compactor_runtimes.report import BETTER_THAN_CHANCE, ERROR_RATIO
from tests import toys

TASK = task_named("image-multi-label")


def split(labels) -> Split:
    labels = np.asarray(labels)
    images = np.zeros((len(labels), 2, 2, 1), np.uint8)
    return Split("select", images, {"labels": labels}, np.arange(len(labels)), "toy")


def example(n: int = 300, noise: float = 1.0, seed: int = 0):
    """Labels of prevalence 0.3, and logits that know them but for noise."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, 4)) < 0.3).astype(np.int64)
    return labels, (2.0 * labels - 1 + noise * rng.normal(size=labels.shape)).astype(np.float32)


def test_thresholds_are_chosen_by_each_for_itself_and_ship_in_the_manifest() -> None:
    labels, logits = example()
    found = choose_thresholds(TASK, split(labels), student={"labels": logits}, teacher={"labels": logits - 2})
    assert found is not None
    assert max(found.teacher) < min(found.student)
    (post,) = found.posts([SigmoidPost(output="logits", labels="labels")], "labels")
    assert isinstance(post, SigmoidPost)
    assert post.thresholds == found.student
    assert "chosen on 300 select samples: a 0." in told(found, ["a", "b", "c", "d"], split(labels))


def test_without_labels_every_threshold_is_a_half() -> None:
    labels, logits = example()
    found = choose_thresholds(TASK, split(labels * 0 - 100), student={"labels": logits}, teacher=None)
    assert found is not None
    assert found.student == [0.5] * 4
    classes = task_named("image-classification")
    assert choose_thresholds(classes, toys.split(), student={}, teacher=None) is None


@pytest.mark.parametrize(
    ("noise", "order", "n", "verdict"),
    [
        (1.0, [0, 1, 2, 3], 300, "fine"),
        (100.0, [0, 1, 2, 3], 300, "chance"),
        (1.0, [1, 2, 3, 0], 300, "chance"),  # all labels in another order
        (2.5, [0, 1, 2, 3], 12, "too few rows"),
    ],
)
def test_answers_must_be_better_than_chance(noise: float, order: list[int], n: int, verdict: str) -> None:
    labels, logits = example(n, noise)
    found = check_label_answers(logits[:, order], labels)
    assert found.verdict == verdict
    assert found.n == n
    assert found.low <= found.value <= found.high
    assert found.floor == pytest.approx(found.chance + 0.1 * (1 - found.chance))


def test_a_student_is_held_against_chance_and_its_teachers() -> None:
    labels, taught = example(noise=0.2)
    select = split(labels)

    def verdicts(noise: float) -> dict[str, bool]:
        student, teacher = {"labels": example(noise=noise)[1]}, {"labels": taught}
        thresholds = choose_thresholds(TASK, select, student=student, teacher=teacher)
        found = readiness(TASK, select, GatesSpec(), student=student, teacher=teacher, thresholds=thresholds)
        return {one.name: one.passed for one in found}

    assert verdicts(0.2) == {BETTER_THAN_CHANCE: True, ERROR_RATIO: True}
    assert verdicts(1.5) == {BETTER_THAN_CHANCE: True, ERROR_RATIO: False}
    assert verdicts(100.0) == {BETTER_THAN_CHANCE: False, ERROR_RATIO: False}


def test_two_answer_alike_as_far_as_their_decisions_do() -> None:
    one, other = np.array([[3.0, -3.0], [1.0, 1.0]]), np.array([[3.0, 3.0], [1.0, 0.1]])
    assert same_answers(TASK, {"labels": one}, {"labels": other}).tolist() == [0.5, 1.0]
    assert same_answers(TASK, {"labels": one}, {"labels": other}, [0.5, 0.6]).tolist() == [0.5, 0.5]


def test_without_labels_the_teachers_decisions_are_the_truth() -> None:
    select = split(np.full((2, 2), -100))
    assert truth_labels(TASK, select, np.array([[1.0, -1.0], [-1.0, 0.0]])).tolist() == [[1, 0], [0, 1]]
    with pytest.raises(UsageError, match="no labels and there is no teacher"):
        truth_labels(TASK, select, None)


def test_figures_of_an_epoch() -> None:
    """A student that answers with logits 0 puts every row at one rank: mAP is the prevalence."""
    labels, _ = example()
    images = np.zeros((300, 8, 8, 1), np.uint8)
    select = Split("select", images, {"labels": labels}, np.arange(300), "toy")
    student = toys.several_classifier(["a", "b", "c", "d"])
    for parameter in student.parameters():
        parameter.data.zero_()
    found = select_figures(TASK, select)(student)
    assert found["select_map"] == pytest.approx(labels.mean(0).mean())
    rate = labels.mean()
    assert found["select_f1"] == pytest.approx(2 * rate / (1 + rate))


def test_raw_images_of_a_set_are_those_of_classes(tmp_path: Path) -> None:
    assert [path.name for path in TASK.raws(split([[1, 0]]), 1, tmp_path)] == ["select000.png"]


@pytest.mark.heavy
def test_a_published_model_of_several_labels_is_exported_without_data(tmp_path: Path) -> None:
    """Its thresholds are a half each: nothing says better."""
    from compactor.progress import SilentReporter
    from compactor.release.export_model import export_model
    from compactor.release.variants import parse_variants
    from compactor_runtimes import load
    from tests.compactor.text_toys import bert_folder, write_tokenizer

    names = {0: "angry", 1: "glad", 2: "sad"}
    model = bert_folder(
        tmp_path / "bert", num_labels=3, id2label=names, problem_type="multi_label_classification"
    )
    write_tokenizer(model)
    found = export_model(
        f"hf:{model}", specs=parse_variants("fp32"), bundle=tmp_path / "bundle", reporter=SilentReporter()
    )
    assert found.task == "text-multi-label"
    with load(tmp_path / "bundle") as loaded:
        answer = loaded.predict("turn on the light")
        (post,) = loaded.bundle.manifest.post
    assert post.thresholds == [0.5] * 3
    reached = answer.probabilities >= 0.5
    assert reached.tolist() == [name in answer.labels for name in names.values()]
