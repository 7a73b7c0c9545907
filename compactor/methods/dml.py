"""`method: dml`: deep mutual learning, where two networks of one architecture teach each other; no teacher.

Zhang et al., "Deep Mutual Learning" (arXiv 1706.00384), with PaddleClas' symmetric loss; with `feature` it is
its UDML, which compares inner tensors too. The student is shipped, its peer is thrown away.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from compactor.methods import About, Method
from compactor.trainer.contracts import Preset, TargetPolicy, Weighted

Weight = Annotated[float, Meta(ge=0)]


class FeatureOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The feature of both networks whose mean squared difference is added, by name, and its weight.

    `penultimate` is what a linear layer makes a sample's logits of; text models also have `states`.
    """

    name: str = "penultimate"
    weight: Annotated[float, Meta(gt=0)] = 1.0


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the method.

    loss = cross-entropy(labels) of student and peer + mutual_weight * 1/2 (KL(peer || student) +
    KL(student || peer)) + feature.weight * mean squared difference of a feature. Gradients reach both.

    `peer` says how the other network starts: `drawn` like the student, but otherwise at random; `copied` from
    the student's own start but for the layer that makes the logits, for students that start from trained
    weights. `head_weights` multiply the losses of single heads.
    """

    mutual_weight: Annotated[float, Meta(gt=0)] = 1.0
    feature: FeatureOptions | None = None
    peer: Literal["drawn", "copied"] = "drawn"
    head_weights: dict[str, Weight] = {}


def build(options: Options) -> Preset:
    """Make the preset."""
    from compactor.objectives.hard_ce import HardCrossEntropy
    from compactor.objectives.mutual import MutualDivergence, MutualFeature, Peer, PeerCrossEntropy
    from compactor.samplers.shuffle import Shuffle

    feature = options.feature
    peer = Peer(options.peer, features=frozenset({feature.name} if feature else ()))
    weighted: list[Weighted] = [
        (HardCrossEntropy(), 1.0),
        (PeerCrossEntropy(peer), 1.0),
        (MutualDivergence(peer), options.mutual_weight),
    ]
    if feature is not None:
        weighted.append((MutualFeature(peer, feature.name), feature.weight))
    return Preset(weighted, TargetPolicy(), Shuffle(), options.head_weights)


METHOD = Method(
    options=Options,
    build=build,
    learns_from_teachers=False,
    about=About(
        does="two networks of one architecture learn from labels and from each other",
        labels="needed",
        cost="a second network, forward and backward",
        source="Zhang et al., arXiv 1706.00384",
    ),
    networks=2,
)
