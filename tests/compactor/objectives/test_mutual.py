"""Mutual learning: values by hand, gradients that reach both networks, and how the peer starts."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from compactor.models.build import build_model
from compactor.models.student import Student
from compactor.objectives.mutual import MutualDivergence, MutualFeature, Peer, PeerCrossEntropy
from compactor.recipe.spec import ModelSpec
from compactor.records import IGNORE, PENULTIMATE, STATES, Batch, Outputs, Step, Target
from compactor_runtimes.errors import UsageError
from tests import toys
from tests.compactor.text_toys import bert_folder, text_info

STEP = Step(0, 10, 0, 1)
ONES, OTHERS = [1, 2, 0.5, -1.0], [2, 0, 1, -0.5]


class _Says(nn.Module):
    """Answers with fixed logits."""

    def __init__(self, **logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.ParameterDict(logits)

    def forward(self) -> dict[str, Tensor]:
        return dict(self.logits)


def peer_that_says(**logits: list[list[float]]) -> Peer:
    peer = Peer()
    peer.module = _Says(**{head: torch.tensor(value) for head, value in logits.items()})
    return peer


def says(**logits: list[list[float]]) -> Outputs:
    return Outputs({head: torch.tensor(value, requires_grad=True) for head, value in logits.items()})


def batch(**labels: list[int]) -> Batch:
    y = {head: torch.tensor(value) for head, value in labels.items()}
    return Batch(x={}, y=y, id=torch.arange(len(next(iter(labels.values())))))


def test_golden_divergence_and_its_gradients_to_both() -> None:
    """L_sym of two fixed rows; the gradient to one is the published one, to the other its mirror image."""
    peer, student = peer_that_says(label=[OTHERS]), says(label=[ONES])
    found = MutualDivergence(peer)(student, None, Target(), batch(label=[0]), STEP)
    assert found.keys() == {"mutual"}
    assert found["mutual"].valid is None
    assert found["mutual"].loss.tolist() == pytest.approx([0.7567608614], abs=1e-6)
    found["mutual"].loss.sum().backward()
    ours, theirs = student.logits["label"].grad, peer.module.logits["label"].grad
    assert ours is not None
    golden = [-0.4175856622, 0.5937301236, -0.1440112157, -0.0321332456]
    assert ours[0].tolist() == pytest.approx(golden, abs=1e-6)
    swapped_peer, swapped = peer_that_says(label=[ONES]), says(label=[OTHERS])
    loss = MutualDivergence(swapped_peer)(swapped, None, Target(), batch(label=[0]), STEP)["mutual"].loss
    loss.sum().backward()
    torch.testing.assert_close(theirs, swapped.logits["label"].grad)
    torch.testing.assert_close(ours, swapped_peer.module.logits["label"].grad)


def test_equal_networks_do_not_diverge() -> None:
    peer, student = peer_that_says(label=[ONES, OTHERS]), says(label=[ONES, OTHERS])
    loss = MutualDivergence(peer)(student, None, Target(), batch(label=[0, 0]), STEP)["mutual"].loss
    assert loss.tolist() == [0, 0]


def test_unlabelled_rows_count_in_the_divergence_and_not_in_the_cross_entropy() -> None:
    peer, student = peer_that_says(label=[OTHERS, OTHERS]), says(label=[ONES, ONES])
    rows = batch(label=[2, IGNORE])
    hard = PeerCrossEntropy(peer)(student, None, Target(), rows, STEP)["peer_hard_ce"]
    assert hard.valid is not None
    assert hard.valid.tolist() == [True, False]
    # -log softmax(2, 0, 1, -.5)[2] = log(e^2 + 1 + e + e^-.5) - 1
    assert hard.loss[0].item() == pytest.approx(1.4607, abs=1e-4)
    mutual = MutualDivergence(peer)(student, None, Target(), rows, STEP)["mutual"]
    assert mutual.valid is None
    assert mutual.loss.tolist() == pytest.approx([0.7567608614] * 2, abs=1e-6)


def test_several_heads_have_terms_of_their_own_and_words_count_where_they_are_labelled() -> None:
    peer = peer_that_says(intent=[ONES], slot=[[ONES, OTHERS]])
    student = says(intent=[OTHERS], slot=[[OTHERS, OTHERS]])
    rows = batch(intent=[1], slot=[[0, IGNORE]])
    rows = Batch(x={}, y=rows.y, id=rows.id, mask=torch.tensor([[True, False]]))
    found = MutualDivergence(peer)(student, None, Target(), rows, STEP)
    assert found.keys() == {"mutual.intent", "mutual.slot"}
    assert found["mutual.slot"].loss[0].tolist() == pytest.approx([0.7567608614, 0], abs=1e-6)
    assert found["mutual.slot"].valid is rows.mask
    hard = PeerCrossEntropy(peer)(student, None, Target(), rows, STEP)
    assert hard.keys() == {"peer_hard_ce.intent", "peer_hard_ce.slot"}


def test_feature_is_the_mean_over_all_elements() -> None:
    """Differences 1, 2, 3, 0 of one sample and 0, 0, 0, 2 of the other: (14 / 4 + 4 / 4) / 2 = 18 / 8."""
    peer = Peer()
    rows = batch(label=[0, 0])
    theirs = torch.zeros(2, 2, 2, requires_grad=True)
    ours = torch.tensor([[[1.0, 2], [3, 0]], [[0, 0], [0, 2]]], requires_grad=True)
    peer.last = (rows, Outputs({}, features={"map": theirs}))
    objective = MutualFeature(peer, "map")
    found = objective(Outputs({}, features={"map": ours}), None, Target(), rows, STEP)["mutual_feature"]
    assert found.loss.tolist() == [14 / 4, 1]
    found.loss.mean().backward()
    assert ours.grad is not None
    assert theirs.grad is not None
    assert torch.equal(ours.grad, -theirs.grad)
    assert ours.grad[0, 1, 0].item() == pytest.approx(2 * 3 / 8)
    assert objective.needs.student == {"map"}


def test_states_of_padding_do_not_count() -> None:
    rows = Batch(x={"attention_mask": torch.tensor([[1, 0]])}, y={}, id=torch.arange(1))
    peer = Peer()
    peer.last = (rows, Outputs({}, features={STATES: torch.zeros(1, 2, 3)}))
    student = Outputs({}, features={STATES: torch.tensor([[[1.0, 2, 2], [9, 9, 9]]])})
    found = MutualFeature(peer, STATES)(student, None, Target(), rows, STEP)["mutual_feature"]
    assert found.loss[0, 0].item() == pytest.approx(3)
    assert found.valid is not None
    assert found.valid.tolist() == [[True, False]]


def resnet(seed: int = 1) -> Student:
    spec = ModelSpec(model="cifar:resnet8", options={"width": 4})
    return build_model(spec, toys.info(), base=Path(), seed=seed)


def test_a_drawn_peer_has_the_students_law_and_none_of_its_weights() -> None:
    student = resnet()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    torch.manual_seed(3)
    peer = Peer().make(student)
    torch.manual_seed(3)
    again = Peer().make(student)
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    for (name, ours), theirs, repeated in zip(
        student.named_parameters(), peer.parameters(), again.parameters(), strict=True
    ):
        assert theirs is not ours
        assert torch.equal(theirs, repeated)
        assert torch.equal(theirs.flatten().sort().values, ours.flatten().sort().values)
        if ours.unique().numel() > 1:  # scales and shifts of norms are 1 and 0
            assert (theirs != ours).float().mean() > 0.5, name
    assert peer.training


def test_a_copied_peer_differs_in_the_layer_that_makes_the_logits() -> None:
    student = resnet()
    peer = Peer("copied").make(student)
    differ = {
        name
        for (name, ours), theirs in zip(student.named_parameters(), peer.parameters(), strict=True)
        if not torch.equal(ours, theirs)
    }
    assert "backbone.linear.weight" in differ
    assert differ <= {"backbone.linear.weight", "backbone.linear.bias"}  # an order of three may be the same
    with pytest.raises(UsageError, match=r"options\.peer: copied found, but no linear layer makes"):
        Peer("copied").make(nn.Linear(2, 2))


def test_the_peer_is_asked_once_a_batch_and_its_features_are_its_own() -> None:
    student = toys.classifier(dropout=0.5)
    peer = Peer(features=frozenset({PENULTIMATE}))
    peer.make(student)
    rows = Batch(x=student.example(4), y={}, id=torch.arange(4))
    first = peer(rows)
    assert peer(rows) is first
    layer = peer.module.get_submodule("backbone.head")
    torch.testing.assert_close(layer(first.features[PENULTIMATE]), first.logits["label"])
    assert peer(Batch(x=rows.x, y={}, id=rows.id)) is not first


def test_text_students_have_peers_too(tmp_path: Path) -> None:
    info = text_info(tmp_path, task="text-classification")
    student = build_model(ModelSpec(model=f"hf:{bert_folder(tmp_path / 'bert')}"), info, base=tmp_path)
    peer = Peer(features=frozenset({STATES}))
    peer.make(student)
    rows = Batch(x=student.example(3), y={}, id=torch.arange(3))
    assert peer(rows).features[STATES].shape == (3, *rows.x["input_ids"].shape[1:], 16)
