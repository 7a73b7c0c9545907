"""A difference against its limit, and how differences are measured; shared by verification and noise."""

from dataclasses import dataclass
from math import inf, isfinite
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

Arrays = dict[str, "NDArray[Any]"]


@dataclass(frozen=True)
class Finding:
    """A difference of one output against its limit; infinite where no number can be given."""

    difference: float
    limit: float
    detail: str

    @property
    def passed(self) -> bool:
        """Whether it is within the limit."""
        return isfinite(self.difference) and self.difference <= self.limit

    @property
    def severity(self) -> float:
        """Difference in units of the limit, to choose the worst."""
        if not isfinite(self.difference):
            return inf
        return self.difference / self.limit if self.limit else (inf if self.difference else 0.0)


def largest_magnitude(values: "NDArray[Any]") -> float:
    """Largest finite magnitude."""
    import numpy as np

    return float(np.abs(values).max(initial=0.0, where=np.isfinite(values)))


def gap(one: "NDArray[Any]", other: "NDArray[Any]") -> float:
    """Largest absolute difference, infinite if it is not a number."""
    import numpy as np

    with np.errstate(invalid="ignore"):
        largest = float(np.abs(one.astype("float64") - other.astype("float64")).max(initial=0.0))
    return largest if isfinite(largest) else inf
