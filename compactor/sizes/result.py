"""What `plan --sizes` found: one row a model, and the whole, as it is written to disk and printed."""

from typing import Any

from msgspec import Struct

from compactor_runtimes.measure.measurement import Measurement, ProfileName
from compactor_runtimes.stats.time_ratio import TimeRatio, Timing, time_ratio, timing_of


class SizeRow(Struct, frozen=True, kw_only=True):
    """One model: what it is to the recipe, what was counted, and what was measured so far.

    `flops` are those of one sample, a multiply-add counted as 2; `problem` says why there is no measurement.
    """

    name: str
    model: str
    options: dict[str, Any]
    is_student: bool
    is_teacher: bool
    parameters: int
    flops: int
    onnx_bytes: int | None = None
    compute: Measurement | None = None
    end_to_end: Measurement | None = None
    problem: str = ""

    @property
    def median_ns(self) -> float:
        """Median compute time of one sample; infinite where it was not measured."""
        return self.compute.median_ns if self.compute else float("inf")


class Sizes(Struct, frozen=True, kw_only=True):
    """All rows, fastest first, and what they were measured with; `finished` is False after Ctrl-C.

    `flops_input` are the shapes of the sample whose FLOPs were counted.
    """

    recipe: str
    command: str
    profile: ProfileName
    threads: int | None
    environment: dict[str, Any]
    flops_input: dict[str, list[int]] = {}
    rows: list[SizeRow] = []
    finished: bool = False
    version: int = 1

    @property
    def student(self) -> SizeRow:
        """The recipe's own student."""
        return next(row for row in self.rows if row.is_student)

    @property
    def teachers_ns(self) -> float | None:
        """Compute time of all teachers one after the other, None where it is not known."""
        teachers = [row for row in self.rows if row.is_teacher]
        known = bool(teachers) and all(row.compute for row in teachers)
        return sum(row.median_ns for row in teachers) if known else None

    def against_teachers(self, row: SizeRow) -> TimeRatio | None:
        """The row's time over that of all teachers one after the other, None where either is not known."""
        timings = [
            timing_of(one.compute.spread, one.compute.session)
            for one in self.rows
            if one.is_teacher and one.compute
        ]
        if self.teachers_ns is None or row.compute is None:
            return None
        together = Timing(
            median_ns=self.teachers_ns,
            blocks_ns=tuple(map(sum, zip(*(one.blocks_ns for one in timings), strict=False))),
            session=timings[0].session,
        )
        return time_ratio(together, timing_of(row.compute.spread, row.compute.session))
