"""Golden cases and the verdicts on them: one finding a case, summarised to one row a check."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from compactor_runtimes.backends import Runtime
from compactor_runtimes.bundle.manifest import GoldenCase
from compactor_runtimes.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from compactor_runtimes.predict.text import Words

    Arrays = dict[str, NDArray[Any]]


class Row(Struct, frozen=True, kw_only=True):
    """One check over `n` cases; `artifact` is "bundle" for preprocessing, which all artifacts share.

    `value` is the largest absolute difference found (None where shapes differ, a run is refused or a value is
    not finite), `detail` the sentence on the worst case.
    """

    artifact: str
    check: str
    passed: bool
    value: float | None
    limit: float
    n: int
    detail: str


@dataclass(frozen=True)
class Case:
    """A golden case with its stored arrays by port name, each [1, ...], and its stored results.

    `decoded` has one result for each entry of the manifest's `post`, as its codec reads it. `words` are those
    of its text, as this machine reads it; None where nothing needs them, or where the text cannot be read.
    """

    case: GoldenCase
    decoded: list[Any]
    feeds: "Arrays"
    outputs: "Arrays"
    words: "Words | None" = None


@dataclass(frozen=True)
class Allowed:
    """How far an answer may differ from the stored one.

    `limit` is of its numbers; `tie` is the difference of two stored logits up to which either is right.
    """

    limit: float
    tie: float


@dataclass(frozen=True)
class Finding:
    """The verdict on one output of one case; `value` is NaN where there is no difference to measure."""

    passed: bool
    value: float
    limit: float
    detail: str


def compare(found: "NDArray[Any]", stored: "NDArray[Any]", limit: float, what: str) -> Finding:
    """Compare two arrays number by number; `what` begins the sentence."""
    import numpy as np

    if found.shape != stored.shape:
        return Finding(False, nan, limit, f"{what}: shape {found.shape} found, {stored.shape} expected")
    if not (np.isfinite(found).all() and np.isfinite(stored).all()):
        return Finding(False, nan, limit, f"{what}: NaN or infinity found, finite numbers expected")
    value = float(np.abs(found.astype(np.float64) - stored.astype(np.float64)).max(initial=0.0))
    return Finding(value <= limit, value, limit, f"{what}: difference {value:.3g} found, limit {limit:.3g}")


def worst(findings: Sequence[Finding]) -> Finding:
    """The one to report: failed before passed, unmeasurable before large."""
    return max(findings, key=lambda each: (not each.passed, isnan(each.value), each.value))


def summarise(artifact: str, check: str, findings: Sequence[Finding]) -> Row:
    """Make the row of a check from its findings, of which the worst is told."""
    one = worst(findings)
    return Row(
        artifact=artifact,
        check=check,
        passed=one.passed,
        value=None if isnan(one.value) else one.value,
        limit=one.limit,
        n=len(findings),
        detail=one.detail,
    )


def attempt(runtime: Runtime, feeds: "Arrays") -> "Arrays | UsageError":
    """Run, and keep a refusal as a result: it is a failed check, not the caller's mistake."""
    try:
        return runtime.run(feeds)
    except UsageError as error:
        return error
