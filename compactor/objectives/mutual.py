"""Deep mutual learning: a network like the student learns beside it, and each pulls the other towards itself.

Zhang, Xiang, Hospedales, Lu, "Deep Mutual Learning" (arXiv 1706.00384), with the loss of PaddleClas: one
symmetric divergence whose gradient reaches both networks. Three objectives share one `Peer`.
"""

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from compactor.models.features import Feature, capture
from compactor.models.student import Student, features_named
from compactor.objectives import LogitObjective
from compactor.objectives.divergences import SymmetricKl
from compactor.objectives.hard_ce import HardCrossEntropy
from compactor.records import MASK, PENULTIMATE, Batch, Needs, Outputs, Step, Target, Term
from compactor_runtimes.errors import UsageError

if TYPE_CHECKING:
    from compactor.teachers import Teachers

Start = Literal["drawn", "copied"]
FEATURE = "options.feature"


class Peer:
    """The other network: train-only, of the student's architecture, asked once a step.

    1. It is a deep copy of the student before training, frozen weights included.
    2. `drawn`: the entries of each of its tensors are put in a random order. Where a start draws them
       independently this is another draw of the same law, whatever the family's law is; constants stay.
    3. `copied`: only the layer that makes the logits is drawn so, for students that start from trained
       weights; two equal networks would stay equal and teach each other nothing.
    """

    def __init__(self, start: Start = "drawn", *, features: frozenset[str] = frozenset()) -> None:
        """Say how it starts, and which of its features are compared."""
        self.start, self.names = start, features
        self.module: nn.Module = nn.Identity()
        self.features: dict[str, Feature] = {}
        self.last: tuple[Batch, Outputs] | None = None

    def make(self, student: nn.Module) -> nn.Module:
        """Make the network; torch's generator, which the stage has seeded, says what is drawn.

        Raises:
            UsageError: `copied`, and no linear layer makes the student's logits.
        """
        self.features = features_named(self.names, student, "student", at=FEATURE)
        parts = [student]
        if self.start == "copied":
            parts = [_logit_layer(student)]
        redrawn = {id(parameter) for part in parts for parameter in part.parameters()}
        self.module = copy.deepcopy(student).train()
        with torch.no_grad():
            for ours, theirs in zip(student.parameters(), self.module.parameters(), strict=True):
                if id(ours) in redrawn:
                    order = torch.randperm(ours.numel()).to(ours.device)
                    theirs.copy_(ours.flatten()[order].view_as(ours))
        return self.module

    def __call__(self, batch: Batch) -> Outputs:
        """What it says of a batch, with gradient; every objective that asks is given the same."""
        if self.last is None or self.last[0] is not batch:
            with capture(self.module, self.features) as seen:
                logits = self.module(**batch.x)
            self.last = (batch, Outputs(logits=logits, features=seen))
        return self.last[1]


class PeerCrossEntropy(LogitObjective):
    """The peer's own cross-entropy to the labels; it owns the peer, which is trained as the student is."""

    as_student = True

    def __init__(self, peer: Peer) -> None:
        """Take the peer."""
        self.peer, self.hard = peer, HardCrossEntropy()

    def setup(self, student: nn.Module, teachers: list[nn.Module]) -> nn.Module:
        """Make the peer."""
        return self.peer.make(student)

    def __call__(
        self, student: Outputs, teacher: Outputs | None, target: Target, batch: Batch, step: Step
    ) -> dict[str, Term]:
        """Return {peer_hard_ce: [B] or [B, L]}, valid where there is a label; by head for several."""
        terms = self.hard(self.peer(batch), None, target, batch, step)
        return {f"peer_{name}": term for name, term in terms.items()}


class MutualDivergence(LogitObjective):
    """1/2 (KL(q || p) + KL(p || q)) of student p and peer q, temperature 1; neither is taken as constant.

    Every sample counts, labelled or not.
    """

    def __init__(self, peer: Peer) -> None:
        """Take the peer."""
        self.peer, self.distance = peer, SymmetricKl()

    def __call__(
        self, student: Outputs, teacher: Outputs | None, target: Target, batch: Batch, step: Step
    ) -> dict[str, Term]:
        """Return {mutual: [B], [B, L] or [P]}, or {mutual.head: ...} for several heads.

        Of a head of tokens [B, L] those count that carry a label of their own (`batch.mask`).
        """
        theirs, terms = self.peer(batch).logits, {}
        for head, logits in student.logits.items():
            log_p, log_q = (one.float().log_softmax(-1) for one in (logits, theirs[head]))
            loss = self.distance.divergence(log_q, log_p)
            name = "mutual" if len(student.logits) == 1 else f"mutual.{head}"
            terms[name] = Term(loss, batch.mask if loss.dim() == 2 else None)
        return terms


class MutualFeature:
    """UDML: mean squared difference of a feature of both networks, over all its elements, unprojected."""

    lr: float | None = None
    as_student = False

    def __init__(self, peer: Peer, name: str) -> None:
        """Take the peer and the feature's name."""
        self.peer, self.name = peer, name
        self.needs = Needs(student=frozenset({name}), option=FEATURE)

    def setup(self, student: nn.Module, teachers: list[nn.Module]) -> nn.Module | None:
        """Make nothing: the peer is there."""
        return None

    def fit(self, teachers: "Teachers | None", batches: Iterator[Batch]) -> None:
        """Need no statistics."""

    def __call__(
        self, student: Outputs, teacher: Outputs | None, target: Target, batch: Batch, step: Step
    ) -> dict[str, Term]:
        """Return {mutual_feature: [B]}, or [B, L] of states of tokens, valid at those that are no padding."""
        ours, theirs = (one.features[self.name].float() for one in (student, self.peer(batch)))
        squared = (ours - theirs).square()
        if MASK in batch.x and squared.dim() == 3:
            return {"mutual_feature": Term(squared.mean(-1), batch.x[MASK] == 1)}
        return {"mutual_feature": Term(_per_sample(squared))}


def _logit_layer(student: nn.Module) -> nn.Module:
    found = student.features.get(PENULTIMATE) if isinstance(student, Student) else None
    if found is None:
        raise UsageError(
            "options.peer: copied found, but no linear layer makes a sample's logits of this student, so its "
            "copy would stay equal; set peer: drawn"
        )
    return student.get_submodule(found.path)


def _per_sample(squared: Tensor) -> Tensor:
    """Mean over all but the first dimension: [B, ...] -> [B]."""
    return squared.flatten(1).mean(-1)
