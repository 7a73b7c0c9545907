"""The options of FerKD's calibration; what they do is in calibrate.py."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

Share = Annotated[float, Meta(ge=0, le=1)]


class Thresholds(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the bins lie: values of the confidence, or quantiles of it over the training views.

    `confidence` is the teacher's largest probability, or the one that it gives the ground truth (which for a
    class outside the stored head is its share of the tail).
    """

    low: Share | None = None
    mid: Share | None = None
    top: Share | None = None
    unit: Literal["quantiles", "values"] = "quantiles"
    confidence: Literal["max", "ground-truth"] = "max"

    def __post_init__(self) -> None:
        """Check their order.

        Raises:
            ValueError: not low <= mid <= top.
        """
        given = [value for value in (self.low, self.mid, self.top) if value is not None]
        if given != sorted(given):
            raise ValueError(
                f"low, mid, top: got {self.low}, {self.mid}, {self.top}, expected low <= mid <= top"
            )
