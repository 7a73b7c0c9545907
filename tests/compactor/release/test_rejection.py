"""The choice of a threshold by hand; what cannot be chosen is refused before anything is trained."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from compactor.recipe.load import load_recipe, parse_recipe, smoke
from compactor.recipe.spec import RejectSpec
from compactor.release.rejection import Rejection, require_rejectable, threshold_for
from compactor.release.scores import Subject
from compactor.run.plan import make_plan
from compactor.tasks import POSTS, task_named
from compactor_runtimes.bundle.manifest import BioPost, SoftmaxPost
from compactor_runtimes.errors import UsageError
from compactor_runtimes.predict.answers import open_codec

A, B, NONE = 0, 1, 2
CLASSES = ["a", "b", "none"]
# (confidence, answer, truth); the other two classes share the rest
ROWS = [
    (0.95, A, A),
    (0.90, A, A),
    (0.85, B, B),
    (0.80, A, NONE),
    (0.75, B, B),
    (0.70, B, NONE),
    (0.65, A, B),
    (0.60, B, NONE),
    (0.55, A, A),
    (0.50, NONE, NONE),
]


def logits(rows: list[tuple[float, int, int]]) -> NDArray[np.float32]:
    shares = np.array([[(1 - sure) / 2] * 3 for sure, _, _ in rows])
    for share, (sure, answer, _) in zip(shares, rows, strict=True):
        share[answer] = sure
    return np.log(shares).astype(np.float32)


def truth(rows: list[tuple[float, int, int]]) -> NDArray[np.int64]:
    return np.array([label for _, _, label in rows])


# Without a threshold 5 of 6 in scope are right, 1 of 4 out of scope is found (it is answered so). Just above
# 0.60 that is 4 of 6 and 2 of 4: the sum, 1.17, is larger by 1/4 - 1/6; above 0.70 it is 4 and 3: 1.42; above
# 0.75, 3 and 3; above 0.80, 3 and 4: 1.5, the largest.
@pytest.mark.parametrize(
    ("points", "threshold"),
    [
        (100.0, 0.825),  # halfway between 0.80 and 0.85
        (34.0, 0.825),  # 2 of 6 are 33.3 points
        (33.0, 0.725),  # 1 of 6 may go: 0.70 is the surest of what may be had with that
        (16.0, 0.0),  # not even one may
        (0.0, 0.0),
    ],
)
def test_the_mean_of_both_is_largest_among_what_may_be_lost(points: float, threshold: float) -> None:
    spec = RejectSpec(out_of_scope="none", max_drop_points=points)
    assert threshold_for(spec, logits(ROWS), truth(ROWS), NONE) == pytest.approx(threshold, abs=1e-6)


def test_of_equals_the_lowest_threshold_is_chosen_and_one_point_may_be_lost() -> None:
    """200 in scope, all right; 2 of them and one of three out of scope are unsure, so are another 2."""
    rows = [(0.99, A, A)] * 196 + [(0.3 + 0.1 * step, A, A) for step in (1, 2, 4, 5)]
    rows += [(0.35, B, NONE), (0.55, B, NONE), (0.99, B, NONE)]
    spec = RejectSpec(out_of_scope="none")
    # above 0.4 and above 0.35 the first is found, which costs nothing; above 0.5 and 0.55 two cost 2 of 200
    assert threshold_for(spec, logits(rows), truth(rows), NONE) == pytest.approx(0.625, abs=1e-6)
    strict = RejectSpec(out_of_scope="none", max_drop_points=0.9)
    assert threshold_for(strict, logits(rows), truth(rows), NONE) == pytest.approx(0.375, abs=1e-6)


def test_samples_without_a_label_do_not_count() -> None:
    spec = RejectSpec(out_of_scope="none", max_drop_points=100)
    unlabelled = [(0.97, A, -100)] * 50 + [(0.62, B, -100)] * 50
    found = threshold_for(spec, logits(ROWS + unlabelled), truth(ROWS + unlabelled), NONE)
    assert found == pytest.approx(0.825, abs=1e-6)


@pytest.mark.parametrize(
    ("keep", "threshold"),
    [(0.95, 0.0), (0.9, 0.525), (0.8, 0.575), (0.75, 0.575), (0.1, 0.925), (0.05, 0.925)],
)
def test_a_share_is_kept(keep: float, threshold: float) -> None:
    """Of ten, one less sure answer a tenth; labels do not matter; the surest always stays."""
    for labels in (truth(ROWS), np.full(len(ROWS), -100)):
        found = threshold_for(RejectSpec(keep=keep), logits(ROWS), labels, None)
        assert found == pytest.approx(threshold, abs=1e-6)


def test_equal_confidences_are_kept_together() -> None:
    rows = [(0.9, A, A)] * 6 + [(0.5, A, A)] * 4
    for keep, threshold in ((0.7, 0.0), (0.6, 0.7)):
        found = threshold_for(RejectSpec(keep=keep), logits(rows), truth(rows), None)
        assert found == pytest.approx(threshold, abs=1e-6)


def test_what_is_chosen_is_what_is_served() -> None:
    """Each row is rejected by the codec as the choice counted it, the rows beside the threshold too."""
    rejection = Rejection(student=0.725, teacher=None, none=NONE, none_name="none")
    bio = BioPost(output="slots", labels="slot")
    softmax = POSTS["sample", "softmax"](task_named("image-classification").head)
    posts = rejection.posts([softmax, bio], "label")
    assert posts == [
        SoftmaxPost(output="logits", labels="label", reject_below=0.725, reject_label="none"),
        bio,
    ]
    answers = open_codec(posts[0], {"label": CLASSES})({"logits": logits(ROWS)})
    assert [one.rejected for one in answers] == [False] * 3 + [False, False] + [True] * 5


def test_teachers_together_student_and_artifacts_are_told() -> None:
    """Teachers at their own; above 0.725 of 6 in scope 4 are kept and right, 3 of 4 are rejected."""
    kinds: dict[str, Any] = {"one": "teacher", "both": "teacher", "s": "student", "o": "artifact"}
    subjects = [Subject(name, kind, logits(ROWS), None, None) for name, kind in kinds.items()]
    rejection = Rejection(student=0.725, teacher=0.0, none=NONE, none_name="none")
    teacher, student, artifact = rejection.rows(subjects, truth(ROWS), split="report")
    assert [(one.subject, one.threshold) for one in (teacher, student, artifact)] == [
        ("both", 0.0),
        ("s", 0.725),
        ("o", 0.725),
    ]
    assert (student.rejected.value, student.rejected.n) == (0.5, 10)
    assert (student.kept_accuracy and student.kept_accuracy.value) == pytest.approx(4 / 5)
    inside, outside = student.in_scope_accuracy, student.out_of_scope_recall
    assert inside is not None
    assert outside is not None
    assert (inside.value, inside.n) == (pytest.approx(4 / 6), 6)
    assert (outside.value, outside.n) == (pytest.approx(3 / 4), 4)
    # Wilson: (k + z²/2 ± z sqrt(k (n - k) / n + z²/4)) / (n + z²), k = 3, n = 4
    assert (outside.low, outside.high) == (pytest.approx(0.30064, abs=1e-5), pytest.approx(0.95441, abs=1e-5))
    assert (teacher.in_scope_accuracy and teacher.in_scope_accuracy.value) == pytest.approx(5 / 6)
    unscoped = Rejection(student=0.725, teacher=None, none=None, none_name="")
    (row, _) = unscoped.rows(subjects, truth(ROWS), split="report")
    assert (row.kind, row.rejected.value, row.in_scope_accuracy, row.out_of_scope_recall) == (
        "student",
        0.5,
        None,
        None,
    )


TOY: dict[str, Any] = {
    "name": "toy",
    "task": "image-classification",
    "data": {"dataset": "digits"},
    "student": {"model": "cifar:resnet8"},
    "stages": [{"id": "one", "method": "supervised", "epochs": 1}],
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reject": {}}, r"give either out_of_scope, .*, or keep, a share \(found neither\)"),
        ({"reject": {"out_of_scope": "x", "keep": 0.9}}, r"\(found both\)"),
        ({"reject": {"keep": 1.0}}, r"recipe reject\.keep: got 1\.0, expected float < 1"),
        ({"reject": {"keep": 0.9, "max_drop_points": 2}}, r"max_drop_points: has no effect with keep"),
        ({"reject": {"out_of_scop": "x"}}, r"unknown key; did you mean 'out_of_scope'\?"),
        (
            {"reject": {"keep": 0.9}, "task": "embedding", "student": {"model": "hf:small"}},
            r"recipe reject: task embedding answers with no single class of a sample",
        ),
        (
            {"reject": {"keep": 0.9}, "task": "token-classification", "student": {"model": "hf:small"}},
            r"recipe reject: task token-classification answers with no single class",
        ),
    ],
)
def test_mistakes_are_answered_when_the_recipe_is_read(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_recipe(TOY | changes)


def test_a_class_that_the_data_have_not_is_refused_by_the_plan(tmp_path: Path) -> None:
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(TOY))

    def planned(*overrides: str) -> None:
        make_plan(load_recipe(str(tmp_path / "toy.yaml"), overrides), tmp_path)

    planned("reject={out_of_scope: '7'}")
    planned("reject={keep: 0.9}")
    with pytest.raises(
        UsageError, match=r"reject\.out_of_scope: '17' is none of the data's 10 classes; did you mean '[17]'"
    ):
        planned("reject={out_of_scope: '17'}")


def test_select_must_show_the_class_and_others_but_for_a_smoke_run(tmp_path: Path) -> None:
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(TOY))
    loaded = load_recipe(str(tmp_path / "toy.yaml"), ["reject={out_of_scope: '7'}"])
    data = make_plan(loaded, tmp_path).data
    assert data is not None
    labels = data.select.labels["label"]
    rows = labels[data.select.rows]
    labels[data.select.rows[rows == 7]] = 1
    with pytest.raises(UsageError, match=r"the select split has no row of class '7'"):
        require_rejectable(loaded.recipe.reject, data)
    require_rejectable(smoke(loaded).recipe.reject, data, smoke=True)
    labels[data.select.rows] = 7
    with pytest.raises(UsageError, match=r"the select split has rows of class '7' alone"):
        require_rejectable(loaded.recipe.reject, data)
