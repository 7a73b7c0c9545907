"""`method: ferkd`: FKD on a calibrated store: drop what teaches nothing, relabel the hard, keep the rest.

Shen, "FerKD: Surgical Label Adaptation for Efficient Distillation" (arXiv 2312.17473). The paper's
thresholds, its eps and the details of SelfMix are not published; they are options here, with defaults of
our own.
"""

from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta

from compactor.label_store.thresholds import Thresholds
from compactor.methods import About, Method, fkd
from compactor.trainer.contracts import Preset

if TYPE_CHECKING:
    from compactor.methods.from_store import Stored


class Options(fkd.Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the method, beside those of `fkd`.

    `thresholds`: the bins (see `compactor store inspect`). `smoothing`: eps of the softened ground truth in
    the hard region. `mixing: self` is SelfMix.
    """

    thresholds: Thresholds = Thresholds(low=0.05, mid=0.2)
    smoothing: Annotated[float, Meta(ge=0, lt=1)] = 0.1
    mixing: Literal["none", "self", "batch"] = "self"


def build(options: Options, stored: "Stored") -> Preset:
    """Calibrate, which is quick, and make the preset."""
    target = stored.calibrated(
        options.thresholds,
        smoothing=options.smoothing,
        mixing=options.mixing,
        views=options.crops_per_image,
    )
    return fkd.preset(options, stored, target)


METHOD = Method(
    options=Options,
    build=None,
    build_stored=build,
    learns_from_teachers=True,
    about=About(
        does="fkd on a calibrated store: uninformative crops dropped, hard ones relabelled, SelfMix",
        labels="for a share of the loss",
        cost="reading the store",
        source="Shen, arXiv 2312.17473",
        page="fkd-ferkd.md",
    ),
    targets=("calibrated",),
)
