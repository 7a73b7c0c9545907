"""How often a training from a label store meets each sample and each of its recorded views."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Visits:
    """How often a sample is trained on: in `passes` over all samples, `epochs` views of it in all.

    `views` of its `stored` ones are taken at once; in the last `views` epochs one each (FKD's accounting).
    """

    epochs: float
    passes: float
    views: int
    stored: int

    @property
    def of_each_view(self) -> float:
        """How often each recorded view is trained on, on average, where none is dropped."""
        return self.epochs / self.stored

    def text(self) -> str:
        """One sentence."""
        return (
            f"over {self.epochs:g} epochs each sample comes up in {self.passes:g} passes ({self.views} crops "
            f"an image), each of its {self.stored} recorded views {self.of_each_view:.2g} times on average"
        )


def visits_of(
    *, epochs: int | None, steps: int | None, batch_size: int, views: int, stored: int, rows: int
) -> Visits:
    """Count visits.

    Args:
        epochs: of the stage, where it is given so; else `steps`.
        steps: of the stage.
        batch_size: views a step.
        views: of a sample in a step.
        stored: recorded views of a sample.
        rows: training samples.
    """
    if epochs is None:
        seen = (steps or 0) * batch_size / rows
        return Visits(seen, seen / views, views, stored)
    whole = max(epochs // views - 1, 0)
    return Visits(epochs, whole + (epochs - whole * views), views, stored)
