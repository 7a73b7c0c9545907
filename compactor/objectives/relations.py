"""Relational knowledge distillation: how a batch's samples lie to one another, in distances and in angles.

Park, Kim, Lu, Cho, "Relational Knowledge Distillation" (arXiv 1904.05068). Student and teacher may have other
dimensions. The samples are those of this process's part of the batch, so with several processes each one
compares its own samples only. As in the authors' code the mean is over all pairs or triples, those of a
sample with itself, which are 0, among them.
"""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from compactor.objectives.feature_match import FeatureObjective
from compactor.records import Batch, Outputs, Step, Target, Term

EPS = 1e-12  # below which a squared distance counts as none


class Relation(FeatureObjective, ABC):
    """Huber loss of the relations that a sub-class finds in a batch."""

    name: str

    @abstractmethod
    def relations(self, features: Tensor) -> Tensor:
        """Return the relations [B, ...] of features [B, D], each row a sample's."""

    def __call__(
        self, student: Outputs, teacher: Outputs | None, target: Target, batch: Batch, step: Step
    ) -> dict[str, Term]:
        """Return {rkd_distance_NAME or rkd_angle_NAME: [B]}."""
        pair = [one.float().flatten(1) for one in self.pair(student, teacher)]
        with torch.autocast(pair[0].device.type, enabled=False):  # differences of products need float32
            ours, theirs = (self.relations(one) for one in pair)
            loss = F.smooth_l1_loss(ours, theirs, reduction="none").flatten(1).mean(-1)
        return {f"{self.name}_{self.ours}": Term(loss)}


class Distances(Relation):
    """RKD-D: Huber loss of |x_i - x_j| over the batch's mean distance."""

    name = "rkd_distance"

    def relations(self, features: Tensor) -> Tensor:
        """Return relative distances [B, B]; equal samples have none."""
        squared = _squared_distances(_products(features))
        apart = squared > EPS
        distances = torch.where(apart, squared.clamp(min=EPS).sqrt(), 0.0)
        return distances / (distances.sum() / apart.sum().clamp(min=1)).clamp(min=EPS)


class Angles(Relation):
    """RKD-A: Huber loss of the cosine of the angle at x_j between x_i and x_k."""

    name = "rkd_angle"

    def relations(self, features: Tensor) -> Tensor:
        """Return cosines [B, B, B], index j first; 0 where two of the three are equal.

        (x_i - x_j)(x_k - x_j) = g_ik - g_ij - g_jk + g_jj, so nothing of B * B * D elements is made.
        """
        products = _products(features)
        of_j = products.diagonal().view(-1, 1, 1)
        dots = products.unsqueeze(0) - products.unsqueeze(2) - products.unsqueeze(1) + of_j
        squared = _squared_distances(products)
        lengths = squared.clamp(min=EPS).sqrt()
        apart = squared > EPS
        cosines = dots / (lengths.unsqueeze(2) * lengths.unsqueeze(1))
        return torch.where(apart.unsqueeze(2) & apart.unsqueeze(1), cosines, 0.0)


def _products(features: Tensor) -> Tensor:
    """Inner products [B, B] about the batch's mean, which keeps differences and loses least in rounding."""
    centred = features - features.mean(0)
    return centred @ centred.T


def _squared_distances(products: Tensor) -> Tensor:
    squares = products.diagonal()
    return squares.unsqueeze(0) + squares.unsqueeze(1) - 2 * products
