"""What a recommendation found: plain records, kept as JSON and printed."""

from typing import Any, Literal

from msgspec import Struct

RESULT_FILE = "recommendation.json"


class Difference(Struct, frozen=True, kw_only=True):
    """A setting minus the best one of the same rung, in points: same samples, 95% bootstrap over them."""

    points: float
    low: float
    high: float

    @property
    def is_noise(self) -> bool:
        """Whether the interval holds zero."""
        return self.low <= 0 <= self.high


class Row(Struct, frozen=True, kw_only=True):
    """A setting in the last rung that it was trained for.

    `value` is the figure on `n` select samples, averaged over seeds, with its 95% interval where samples are
    right or wrong; None = it failed, as `problem` says. `difference` is absent of the best one itself, and
    where no samples can be paired.
    """

    name: str
    method: str
    options: dict[str, Any]
    lr: float
    stored: bool
    is_own: bool
    is_baseline: bool
    rung: int
    steps: int
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int
    difference: Difference | None = None
    problem: str = ""

    @property
    def verdict(self) -> Literal["best", "noise", "worse", "better", "not told", "failed"]:
        """Against the best of its rung."""
        if self.value is None:
            return "failed"
        if self.difference is None:
            return "not told"
        if self.difference.is_noise:
            return "noise"
        return "better" if self.difference.points > 0 else "worse"


class Recommendation(Struct, frozen=True, kw_only=True):
    """The rows, the longest trained first and of these the best first; `rows[0]` is recommended.

    `rungs` are settings and steps; `full_steps` those of the recipe's own training. `trained` and `reused`
    count the trainings of settings.
    """

    recipe: str
    figure: str
    seeds: list[int]
    rungs: list[tuple[int, int]]
    full_steps: int
    rows: list[Row]
    left_out: list[str]
    trained: int
    reused: int

    @property
    def winner(self) -> Row:
        """The best on select of those that were trained longest."""
        return self.rows[0]
