"""Which of two to ship, in one sentence: by what is better beyond the noise, never by what is inside it."""

from compactor_runtimes.compare.comparison import Difference, Ratio
from compactor_runtimes.report.format import RANK_CORRELATION

SAME_SIZE = 0.05  # sizes that differ by less than this share decide nothing
_SIGN = {"noise": 0, "better": 1, "worse": -1}


def advise(
    a: str,
    b: str,
    metric: str,
    difference: Difference | None,
    *,
    agreement: float | None,
    times: list[Ratio],
    size: float | None,
) -> str:
    """Weigh b against a by accuracy, time of one query and size.

    Args:
        a: name of the baseline.
        b: name of the other one.
        metric: what `difference` is a difference of.
        difference: of b over a, None without labels.
        agreement: share of equal answers.
        times: time ratios, empty if they cannot be compared.
        size: size ratio, b over a.
    """
    time = _deciding(times)
    signs = [
        _SIGN[difference.verdict] if difference else 0,
        _SIGN[time.verdict] if time and time.valid else 0,
        0 if size is None or abs(size - 1) < SAME_SIZE else 1 if size < 1 else -1,
    ]
    facts = [_accuracy(b, metric, difference, agreement), _time(b, time), _size(b, size)]
    why = "; ".join(fact for fact in facts if fact)
    if difference is None:
        return f"undecided: {why}"
    if 1 in signs and -1 in signs:
        return f"a trade-off that only your limits can decide: {why}"
    if 1 in signs:
        return f"ship {b}: {why}"
    return f"keep {a}: {why}" if -1 in signs else f"keep {a}, nothing speaks for a change: {why}"


def change(difference: Difference, metric: str) -> str:
    """A difference with its 95% interval: `+1.20 points [+0.40, +2.00]`, a correlation as it is."""
    if metric == RANK_CORRELATION:
        value, low, high = (each / 100 for each in (difference.points, difference.low, difference.high))
        return f"{value:+.4f} [{low:+.4f}, {high:+.4f}]"
    return f"{difference.points:+.2f} points [{difference.low:+.2f}, {difference.high:+.2f}]"


def _deciding(times: list[Ratio]) -> Ratio | None:
    """The time of one bare query, or the first that was measured warm."""
    warm = [one for one in times if one.scope != "cold-start"]
    bare = [one for one in warm if (one.scope, one.scenario) == ("compute", "single-stream")]
    return next(iter(bare + warm), None)


def _accuracy(b: str, metric: str, difference: Difference | None, agreement: float | None) -> str:
    if difference is None:
        known = "" if agreement is None else f", the two agree on {100 * agreement:.2f}%"
        return f"without labels nobody knows which is right more often{known}"
    if difference.verdict == "noise":
        return f"the {metric} difference of {change(difference, metric)} is inside the noise"
    word = "higher" if difference.verdict == "better" else "lower"
    return f"{metric} of {b} is {word}: {change(difference, metric)}"


def _time(b: str, time: Ratio | None) -> str:
    if time is None:
        return "times were not compared"
    own, other = time.runtimes
    what = f"{time.scope} time"
    where = f"both in {own}" if own == other else f"{own} against {other}"
    if not time.valid:
        return f"the {what}s were measured INVALID"
    if time.verdict == "noise":
        return f"the {what} difference ({time.value:.2f} times, {where}) is inside the noise"
    word = "shorter" if time.verdict == "better" else "longer"
    return f"{what} of {b} is {word} ({time.value:.2f} times, {where})"


def _size(b: str, size: float | None) -> str:
    if size is None or abs(size - 1) < SAME_SIZE:
        return ""
    return f"{b} is {'smaller' if size < 1 else 'bigger'} ({size:.2f} times)"
