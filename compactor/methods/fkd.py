"""`method: fkd`: train from a label store, several recorded crops of an image a step; no teacher runs.

Shen, Xing, "A Fast Knowledge Distillation Framework for Visual Recognition" (arXiv 2112.01528). The loss is
the cross-entropy to the stored label; `temperature` divides the student's logits alone, without a T^2 factor.
Hard labels do not enter.
"""

from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

from compactor.methods import About, Method
from compactor.trainer.contracts import Preset

if TYPE_CHECKING:
    from compactor.methods.from_store import Stored
    from compactor.trainer.contracts import TargetPolicy


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the method.

    `crops_per_image`: recorded crops of an image in a step; a pass over the images counts as that many
    epochs. `mixing`: mix each crop with another one of its image (`self`) or of the batch (`batch`), labels
    included.
    """

    crops_per_image: Annotated[int, Meta(ge=1)] = 4
    temperature: Annotated[float, Meta(gt=0)] = 1.0
    mixing: Literal["none", "self", "batch"] = "none"


def build(options: Options, stored: "Stored") -> Preset:
    """Make the preset."""
    return preset(options, stored, stored.labels(views=options.crops_per_image, mixing=options.mixing))


def preset(options: Options, stored: "Stored", target: "TargetPolicy") -> Preset:
    """What FKD and FerKD share: the objective and the order of crops."""
    from compactor.methods.from_store import require_views
    from compactor.objectives.divergences import SoftCrossEntropy
    from compactor.samplers.crop_major import CropMajor

    require_views(stored.stage, options.crops_per_image, stored.part.views)
    objective = SoftCrossEntropy(options.temperature, target_temperature=1.0)
    sampler = CropMajor(options.crops_per_image, stored.stage.batch_size, stored.stage.epochs)
    return Preset([(objective, 1.0)], target, sampler)


METHOD = Method(
    options=Options,
    build=None,
    build_stored=build,
    learns_from_teachers=True,
    about=About(
        does="cross-entropy to stored labels, several recorded crops of an image a step",
        labels="not read",
        cost="reading the store",
        source="Shen and Xing, arXiv 2112.01528",
        page="fkd-ferkd.md",
    ),
    targets=("stored",),
)
