"""`method: lelp` on toys: it finds what a teacher of groups knows beyond them, and says what it lacks."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from compactor.data.image_loader import eval_batches
from compactor.data.splits import Split
from compactor.methods import method_named, parse_options
from compactor.models.classifier import Backbone, ImageClassifier
from compactor.recipe.load import parse_recipe
from compactor.records import IGNORE, PENULTIMATE, SUBCLASSES, Step
from compactor.targets.subclasses import SubclassTargets
from compactor.teachers import Teachers
from compactor_runtimes.errors import UsageError
from tests import toys
from tests.compactor.methods.contract import preset_of, train, widened

GROUPS = ["few", "many"]


def fitted(teacher: nn.Module, split: Split, count: int, **options: Any) -> SubclassTargets:
    settings: dict[str, Any] = {"temperature": 1.0, "beta": None, "null_space": True, "seed": 0}
    policy = SubclassTargets(**settings | options)
    policy.serve("label", GROUPS, count)
    policy.fit(Teachers([teacher]), eval_batches(split, 8))
    return policy


def grouped() -> tuple[ImageClassifier, Split, np.ndarray]:
    """A teacher of two groups of three classes each, whose features are the brightness of rows."""
    kinds = np.arange(60) % 6
    rng = np.random.default_rng(0)
    images = rng.integers(0, 20, (60, 8, 8, 1), dtype=np.uint8)
    for image, kind in zip(images, kinds, strict=True):
        image[kind] = 235
    network = toys.Mlp(num_classes=2, hidden=8)
    first, last = network.body[1], network.head
    with torch.no_grad():
        first.weight.copy_(torch.eye(8).repeat_interleave(8, 1) / 8)
        first.bias.fill_(1.0)
        last.weight.copy_(torch.tensor([[1.0] * 3 + [0.0] * 5, [0.0] * 3 + [1.0] * 3 + [0.0] * 2]))
        last.bias.zero_()
    teacher = ImageClassifier(Backbone(network, [0.5], [0.5]), toys.info(classes=GROUPS))
    return teacher, Split("train", images, {"label": kinds // 3}, np.arange(60), "groups"), kinds


def test_subclasses_of_a_teacher_of_groups_are_the_classes_that_were_grouped() -> None:
    """Within a group, samples of one class are divided alike, and those of different classes apart."""
    teacher, split, kinds = grouped()
    policy = fitted(teacher, split, 2, beta=0.05)
    (batch,) = eval_batches(split, 60)
    said = Teachers([teacher])(batch, {PENULTIMATE: teacher.features[PENULTIMATE]})
    soft = policy.make(batch, said, Step(0, 1, 0, 1)).heads[SUBCLASSES]
    p = soft.log_p.exp().view(60, 2, 2)  # type: ignore[union-attr]
    own = (p / p.sum(-1, keepdim=True))[torch.arange(60), torch.from_numpy(kinds // 3), 0]
    for group in (0, 1):
        means = [own[kinds == kind].mean().item() for kind in range(3 * group, 3 * group + 3)]
        spreads = [own[kinds == kind].std().item() for kind in range(3 * group, 3 * group + 3)]
        assert max(means) - min(means) > 0.5
        assert max(spreads) < 0.2
    assert policy.summary()["subclasses"]["fewer"] == {}


def test_temperature_and_beta_soften_what_they_should() -> None:
    """Sums over subclasses are softmax(log q / T); within a class softmax(scores / beta)."""
    teacher, split, _ = grouped()
    policy = fitted(teacher, split, 2, temperature=2.0, beta=0.5)
    assert policy.directions is not None
    (batch,) = eval_batches(split, 60)
    said = Teachers([teacher])(batch, {PENULTIMATE: teacher.features[PENULTIMATE]})
    soft = policy.make(batch, said, Step(0, 1, 0, 1)).heads[SUBCLASSES]
    p = soft.log_p.exp().view(60, 2, 2)  # type: ignore[union-attr]
    torch.testing.assert_close(p.sum(-1), (said.logits["label"] / 2).softmax(-1))
    scores = policy.directions.scores(said.features[PENULTIMATE])
    torch.testing.assert_close(p / p.sum(-1, keepdim=True), (scores / 0.5).softmax(-1))


def test_unlabelled_samples_belong_to_the_teacher_s_top_class() -> None:
    teacher, split, _ = grouped()
    unlabelled = replace(split, labels={"label": np.full(60, IGNORE)})
    mine, theirs = (fitted(teacher, one, 2) for one in (split, unlabelled))
    assert mine.directions is not None
    assert theirs.directions is not None
    top = torch.cat([teacher(**batch.x)["label"].argmax(-1) for batch in eval_batches(split, 60)])
    assert (top.numpy() == split.labels["label"]).all()
    torch.testing.assert_close(mine.directions.axes, theirs.directions.axes)


def test_it_says_which_classes_vary_in_fewer_directions() -> None:
    teacher, split, _ = grouped()
    few = replace(split, rows=np.array([0, 1, 2, 3, 4]))
    policy = fitted(teacher, few, 4)
    assert policy.summary()["subclasses"]["fewer"] == {"few": 2, "many": 1}
    assert "2 classes vary in fewer directions: 'few' 2, 'many' 1" in policy.note()


def test_a_student_learns_its_subclasses(tmp_path: Path) -> None:
    result = train("lelp", tmp_path, epochs=12, lr=0.3)
    first, last = (result.history[at]["terms"]["subclass_ce"] for at in (0, -1))
    assert last < first - 0.1


def test_options_become_parts() -> None:
    assert [weight for _, weight in preset_of("lelp").objectives] == [0.9, pytest.approx(0.1)]
    method = method_named("lelp", "here")
    preset = method.build(parse_options(method, {}, "here"))
    assert [type(one).__name__ for one, _ in preset.objectives] == ["SubclassCrossEntropy"]


def test_the_targets_are_told_of_the_student() -> None:
    preset = preset_of("lelp")
    preset.objectives[0][0].setup(widened(0), [])
    assert (preset.target.head, preset.target.subclasses) == ("label", 2)  # type: ignore[attr-defined]


def recipe(**stage: Any) -> dict[str, Any]:
    return {
        "name": "toy",
        "task": "image-classification",
        "data": {"dataset": "digits"},
        "student": {"model": "cifar:resnet8"},
        "stages": [
            {"id": "teacher", "method": "supervised", "steps": 2},
            {"id": "distil", "method": "lelp", "teachers": ["stage:teacher"], "steps": 2, **stage},
        ],
    }


def test_what_it_lacks_is_said_before_training() -> None:
    with pytest.raises(UsageError, match=r"no subclasses for method 'lelp'.*subclasses: 5\}"):
        parse_recipe(recipe())
    wide = {"model": "cifar:resnet8", "subclasses": 5}
    assert parse_recipe(recipe(student=wide)).stages[1].method == "lelp"
    with pytest.raises(UsageError, match=r"method 'lelp' cannot learn from a label store"):
        parse_recipe(recipe(student=wide, labels={"crops": 2}))
    with pytest.raises(UsageError, match=r"compares classes, task image-multi-label answers with"):
        parse_recipe(recipe(student=wide) | {"task": "image-multi-label"})


def test_several_heads_are_refused() -> None:
    raw = recipe(student={"model": "encoder:1x16", "subclasses": 5}) | {"task": "intent-slots"}
    raw["data"] = {"dataset": "folder", "tokenizer": "tokenizer.json"}
    with pytest.raises(UsageError, match=r"divides the one class of a sample, task intent-slots"):
        parse_recipe(raw)
