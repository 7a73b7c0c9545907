"""`mixer: parc`: teachers weigh by how well their features tell the data's classes apart, the nearest most.

Borup, Phoo, Hariharan, "Distilling from Similar Tasks for Transfer Learning on a Budget" (arXiv 2304.12314):
DistillNearest takes the best teacher alone, DistillWeighted all. The score is PARC (Bolya, Mittapalli,
Hoffman, "Scalable Diverse Model Selection for Accessible Transfer Learning", arXiv 2111.06977).
"""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from msgspec import Meta

from compactor.mixers import MixerOptions
from compactor.records import Count, NonNegative, TeacherClasses

if TYPE_CHECKING:
    from compactor.mixers.parc_mixer import ParcMixer

EVEN = 1.0
MOST_ROWS, L2 = 20_000, 1e-3


class Options(MixerOptions, frozen=True, kw_only=True):
    """The score, what it weighs, and whose answers are mixed.

    A teacher's weight is max(0, PARC)^power, over the sum of all; `power: 0` weighs all alike, whatever their
    scores, and `nearest` takes the best alone. PARC is computed on `samples` labelled training rows, whose
    features are reduced to `components` (null: as they are). `heads: probe` answers with a linear probe on
    each teacher's features, fitted to the labels of `probe_rows` training rows, so that teachers of other
    classes can teach; `l2` is its penalty. `heads: own` answers with the teachers' own logits.
    """

    is_fitted: ClassVar[bool] = True
    one_head: ClassVar[bool] = True

    power: NonNegative = EVEN
    nearest: bool = False
    samples: Annotated[int, Meta(ge=3, le=5_000)] = 500
    components: Count | None = 32
    heads: Literal["probe", "own"] = "probe"
    probe_rows: Annotated[int, Meta(ge=3)] = MOST_ROWS
    l2: Annotated[float, Meta(gt=0)] = L2

    def __post_init__(self) -> None:
        """Check that every option has an effect.

        Raises:
            ValueError: a power beside `nearest`, or settings of a probe that there is none of.
        """
        if self.nearest and self.power != EVEN:
            raise ValueError("power has no effect with nearest, which takes one teacher; remove one of them")
        if self.heads == "own" and (self.probe_rows, self.l2) != (MOST_ROWS, L2):
            raise ValueError("probe_rows and l2 are of probes, which heads: own has none of; remove them")

    @property
    def teacher_classes(self) -> TeacherClasses:
        """A probe answers with the data's classes, whatever its teacher's are."""
        return "any" if self.heads == "probe" else "all"

    def build(self) -> "ParcMixer":
        """Make the mixer."""
        from compactor.mixers.parc_mixer import ParcMixer

        return ParcMixer(
            power=self.power,
            nearest=self.nearest,
            samples=self.samples,
            components=self.components,
            probe_rows=self.probe_rows if self.heads == "probe" else None,
            l2=self.l2,
        )
