"""Objectives, mixer and method of embeddings, by hand."""

from pathlib import Path

import pytest
import torch
from torch import nn

from compactor.data.spec import AugmentSpec
from compactor.methods import METHODS, method_named, parse_options
from compactor.mixers.averages import MeanMixer
from compactor.models.build import build_model
from compactor.objectives.embedding import Cosine, Similarity
from compactor.recipe.spec import ModelSpec
from compactor.records import Batch, Outputs, Step, Target
from compactor.teachers import Teachers
from compactor.trainer.fit import fit
from compactor_runtimes.errors import UsageError
from tests import toys
from tests.compactor.text_toys import IDS, text_info

AT, NOTHING = Step(0, 1, 0, 1), Batch({}, {}, torch.arange(0))


def vectors(*rows: list[float]) -> Outputs:
    return Outputs({"embedding": torch.tensor(rows)})


def embedder(folder: Path, dim: int, seed: int = 0) -> nn.Module:
    """The toy answers with `num_classes` values, which for embeddings are its dimensions."""
    spec = ModelSpec(model="module:tests.compactor.text_toys:Bag", options={"num_classes": dim})
    return build_model(spec, text_info(folder, task="embedding"), base=folder, seed=seed)


def test_cosine_by_hand() -> None:
    """Angles of 0, 90, 180 and 60 degrees, whatever the lengths."""
    student = vectors([2.0, 0.0], [0.0, 3.0], [1.0, 0.0], [1.0, 0.0])
    teacher = vectors([5.0, 0.0], [1.0, 0.0], [-2.0, 0.0], [1.0, 3**0.5])
    loss = Cosine()(student, teacher, Target(), NOTHING, AT)["cosine"].loss
    torch.testing.assert_close(loss, torch.tensor([0.0, 1.0, 2.0, 0.5]))


def test_similarity_by_hand() -> None:
    """Student angles: 90 between 0 and 1, 0 between 0 and 2; teacher: all the same direction.

    Gaps of cosines: (0,1) 0-1, (0,2) 1-1, (1,2) 0-1; each row's mean over its two others.
    """
    student = vectors([1.0, 0.0], [0.0, 1.0], [7.0, 0.0])
    teacher = vectors([1.0, 0.0, 0.0], [2.0, 0.0, 0.0], [3.0, 0.0, 0.0])
    loss = Similarity()(student, teacher, Target(), NOTHING, AT)["similarity"].loss
    torch.testing.assert_close(loss, torch.tensor([0.5, 1.0, 0.5]))
    alone = Similarity()(vectors([1.0, 2.0]), vectors([2.0, 1.0]), Target(), NOTHING, AT)["similarity"].loss
    assert alone.tolist() == pytest.approx([0.0], abs=1e-6)


def test_a_student_of_other_dimensions_is_mapped_for_training_only(tmp_path: Path) -> None:
    student, teacher, same = embedder(tmp_path, 2), embedder(tmp_path, 3), embedder(tmp_path, 2, 1)
    objective = Cosine()
    assert objective.setup(student, [same]) is None
    made = objective.setup(student, [teacher])
    assert made is objective.projection
    assert isinstance(made, nn.Linear)
    assert (made.in_features, made.out_features, made.bias) == (2, 3, None)
    with torch.no_grad():
        made.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))
    term = objective(vectors([0.0, 2.0]), vectors([0.0, 5.0, 0.0]), Target(), NOTHING, AT)["cosine"]
    torch.testing.assert_close(term.loss, torch.tensor([0.0]))
    with pytest.raises(UsageError, match=r"ImageClassifier gives no embedding but logits; set task: embed"):
        objective.setup(student, [toys.classifier()])


@pytest.mark.parametrize("kind", [Cosine, Similarity])
def test_zero_gradient_at_the_teacher_and_float32_in_half_precision(kind: type) -> None:
    teacher = torch.randn(4, 3)
    student = (2 * teacher).requires_grad_()
    (term,) = kind()(
        Outputs({"embedding": student}), Outputs({"embedding": teacher}), Target(), NOTHING, AT
    ).values()
    (gradient,) = torch.autograd.grad(term.loss.sum(), student)
    assert term.loss.abs().max().item() < 1e-6
    assert gradient.abs().max().item() < 1e-6
    with torch.autocast("cpu", torch.bfloat16):
        (half,) = kind()(
            Outputs({"embedding": student.bfloat16()}), Outputs({"embedding": teacher}), Target(), NOTHING, AT
        ).values()
    assert half.loss.dtype == torch.float32
    assert half.loss.abs().max().item() < 1e-3


def test_mixer_averages_directions_and_makes_no_probabilities() -> None:
    mixed = MeanMixer([3.0, 1.0])([vectors([4.0, 0.0]), vectors([0.0, 0.5])])
    assert mixed.log_probs == {}
    torch.testing.assert_close(mixed.logits["embedding"], torch.tensor([[0.75, 0.25]]))
    alone = MeanMixer()([vectors([4.0, 0.0])])
    torch.testing.assert_close(alone.logits["embedding"], torch.tensor([[4.0, 0.0]]))
    with pytest.raises(UsageError, match=r"have 2, 3 dimensions and cannot be averaged"):
        MeanMixer()([vectors([1.0, 0.0]), vectors([1.0, 0.0, 0.0])])


def test_method_builds_the_terms_that_have_weight() -> None:
    method = method_named("embedding", "here")
    assert method.learns_from_teachers

    def terms(**options: float) -> list[tuple[str, object]]:
        preset = method.build(parse_options(method, options, "here"))
        return [(type(objective).__name__, weight) for objective, weight in preset.objectives]

    assert terms() == [("Cosine", 1.0)]
    assert terms(cosine_weight=0, similarity_weight=2) == [("Similarity", 2.0)]
    assert terms(similarity_weight=0.5) == [("Cosine", 1.0), ("Similarity", 0.5)]
    with pytest.raises(UsageError, match=r"both 0, expected one above 0"):
        terms(cosine_weight=0)
    found = {name: method_named(name, "here").activations for name in METHODS}
    assert {name for name in METHODS if "none" in found[name]} == {"embedding"}
    assert found["embedding"] == {"none"}


class _Texts:
    """Batches of random ids in a fixed order, as a loader gives them."""

    def __len__(self) -> int:
        return 24

    def steps(self, n: int) -> int:
        return n // 8

    def epoch(self, epoch, positions, *, start=0, crops=None):
        for step in range(start, self.steps(len(positions))):
            generator = torch.Generator().manual_seed(1_000 * epoch + step)
            ids = torch.randint(4, IDS, (8, 6), generator=generator)
            yield Batch({"input_ids": ids, "attention_mask": torch.ones_like(ids)}, {}, torch.arange(8))


def test_a_student_learns_its_teachers_directions(tmp_path: Path) -> None:
    """Trained through the one loop with a map to the teacher's dimensions; the map is no part of it."""
    student, teacher = embedder(tmp_path, 4), embedder(tmp_path, 3, seed=5)
    names = set(student.state_dict())
    method = method_named("embedding", "here")
    stage = toys.stage(method="embedding", epochs=30, optimizer="adamw", lr=0.02, augment=AugmentSpec())
    result = fit(
        student,
        method.build(parse_options(method, {"similarity_weight": 0.5}, "here")),
        lambda rank, world: _Texts(),
        training=stage,
        name=stage.id,
        seed=0,
        folder=tmp_path,
        teachers=Teachers([teacher]),
    )
    first, last = result.history[0]["terms"], result.history[-1]["terms"]
    assert set(first) == {"cosine", "similarity"}
    assert last["cosine"] < 0.3 * first["cosine"]
    assert last["similarity"] < 0.5 * first["similarity"]
    assert set(student.state_dict()) == names
