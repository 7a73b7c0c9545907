"""`method: kd`: a soft divergence to the teachers, mixed with cross-entropy to the ground truth.

Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network" (arXiv 1503.02531), section 2.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from compactor.methods import Method, Preset

DIVERGENCES = {
    "kl": "compactor.objectives.kl:Kl",
    "soft_ce": "compactor.objectives.soft_ce:SoftCrossEntropy",
    "sym_kl": "compactor.objectives.sym_kl:SymmetricKl",
    "js": "compactor.objectives.js:JensenShannon",
}


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the method.

    loss = soft_weight * divergence(teacher, student; temperature) + (1 - soft_weight) *
    cross-entropy(labels). `average` says what several teachers are averaged in: their probabilities or
    their logits.
    """

    divergence: Literal["kl", "soft_ce", "sym_kl", "js"] = "kl"
    temperature: Annotated[float, Meta(gt=0)] = 4.0
    soft_weight: Annotated[float, Meta(ge=0, le=1)] = 0.9
    average: Literal["probabilities", "logits"] = "probabilities"


def build(options: Options) -> Preset:
    """Make the preset; without a hard share the ground truth is never read, so unlabelled data will do."""
    from compactor.objectives.hard_ce import HardCrossEntropy
    from compactor.samplers.shuffle import Shuffle
    from compactor.targets.live_teacher import LiveTeacher
    from compactor_runtimes.tables import lookup

    divergence = lookup(DIVERGENCES, options.divergence, "divergence")(temperature=options.temperature)
    hard = [(HardCrossEntropy(), 1.0 - options.soft_weight)] if options.soft_weight < 1 else []
    return Preset([(divergence, options.soft_weight), *hard], LiveTeacher(options.average), Shuffle())


METHOD = Method(options=Options, build=build, learns_from_teachers=True, sources=tuple(DIVERGENCES.values()))
