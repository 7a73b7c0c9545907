"""Which of several ways to run one model is taken, by what a user wants; in plain numbers, without words.

1. Bounds first: what is out of them is left out. What is not known cannot hold a bound.
2. latency: what is faster than the simplest by more than noise and 2%; of these the fastest and what is not
   slower than it by more than the noise. Where nothing is shown to be faster, the simplest and all that is
   not shown to be slower. Within such a group time cannot decide: the smallest is taken if it is smaller by
   more than 5%, else the simplest.
3. size, memory: the smallest, by more than 5%; within that, rule 2.
4. accuracy: what lost least on select; within that, rule 2.
5. Code, which an engine is, is taken only where there is nothing else; what ships in spite of a failed gate
   is never taken for its size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from compactor_runtimes.measure.wish import Policy, Wish
from compactor_runtimes.stats.time_ratio import TimeRatio, Timing, time_ratio

SAME_SIZE = 0.05  # sizes that differ by less than this share are not worth a word
SAME_TIME = 0.02  # and times by less than this one, however well they are known, decide nothing
DecidedBy = Literal["only", "time", "size", "memory", "accuracy", "simplest"]


@dataclass(frozen=True)
class Option:
    """One way to run the model; None is not known. `complexity` orders from simple to involved.

    `timing` is the valid compute time of one sample, `lost_points` what was lost on select.
    """

    name: str
    complexity: tuple[int, ...]
    timing: Timing | None
    size_bytes: int
    memory_bytes: int | None = None
    lost_points: float | None = None
    is_code: bool = False
    is_verified: bool = True


@dataclass(frozen=True)
class Pick:
    """What was taken and what decided; `plain` is the simplest, `left_out` says whose bound did not hold."""

    option: Option
    by: DecidedBy
    plain: Option
    left_out: dict[str, str]


VALUES: dict[Policy, Callable[[Option], float | None]] = {
    "latency": lambda one: one.timing.median_ns if one.timing else None,
    "size": lambda one: float(one.size_bytes),
    "memory": lambda one: one.memory_bytes,
    "accuracy": lambda one: one.lost_points,
}
BOUNDS: dict[str, Policy] = {
    "max_slower": "latency",
    "max_larger": "size",
    "max_memory": "memory",
    "max_drop_points": "accuracy",
}


def ratio_of(a: Option, b: Option) -> TimeRatio | None:
    """Time of b over time of a; None where either is not known."""
    return None if a.timing is None or b.timing is None else time_ratio(a.timing, b.timing)


def is_faster(b: Option, a: Option) -> bool:
    """Whether b is faster than a by more than the noise, and by more than 2%."""
    ratio = ratio_of(a, b)
    return ratio is not None and ratio.verdict == "better" and ratio.value * (1 + SAME_TIME) < 1


def pick(options: Sequence[Option], wish: Wish = Wish()) -> Pick:  # noqa: B008 (frozen)
    """Take one.

    Raises:
        ValueError: there is none.
    """
    if not options:
        raise ValueError("pick: got no option, expected at least one")
    ordered = sorted(options, key=lambda one: one.complexity)
    plain = ordered[0]
    open_to = [one for one in ordered if not one.is_code] or ordered[:1]
    left_out = _out_of_bounds(open_to, wish)
    kept = [one for one in open_to if one.name not in left_out]
    if not kept:  # bounds that nothing holds decide nothing
        kept = open_to[:1]
    if len(options) == 1:
        return Pick(plain, "only", plain, left_out)
    if wish.by == "latency":
        return Pick(*_by_latency(kept), plain, left_out)
    group = _least(kept, wish.by)
    option, by = _by_latency(group)
    return Pick(option, wish.by if len(group) < len(kept) else by, plain, left_out)


def front(options: Sequence[Option]) -> list[str]:
    """Names of those that no other beats: in time beyond the noise, size and memory at once."""

    def beats(one: Option, other: Option) -> bool:
        ratio = ratio_of(other, one)
        if ratio is None or ratio.verdict == "worse":
            return False
        memory = (one.memory_bytes or 0, other.memory_bytes or 0)
        no_worse = one.size_bytes <= other.size_bytes and memory[0] <= memory[1] * (1 + SAME_SIZE)
        better = (
            ratio.verdict == "better"
            or one.size_bytes < other.size_bytes * (1 - SAME_SIZE)
            or memory[0] < memory[1] * (1 - SAME_SIZE)
        )
        return no_worse and better

    known = [one for one in options if one.timing is not None]
    return [one.name for one in known if not any(beats(other, one) for other in known)]


def _by_latency(options: Sequence[Option]) -> tuple[Option, DecidedBy]:
    """Rule 2 on options in order of complexity."""
    plain = options[0]
    faster = [one for one in options if is_faster(one, plain)]
    if faster:
        fastest = min(faster, key=lambda one: one.timing.median_ns if one.timing else float("inf"))
        group, by = [one for one in faster if not is_faster(fastest, one)], "time"
    else:
        group, by = [one for one in options if not is_faster(plain, one)], "simplest"
    first = group[0]
    fit = [one for one in group if one.is_verified or one is first]
    smallest = min(fit, key=lambda one: one.size_bytes)
    if smallest.size_bytes < first.size_bytes * (1 - SAME_SIZE):
        return smallest, "size" if by == "simplest" else "time"
    return first, "time" if by == "time" else "simplest"


def _least(options: Sequence[Option], by: Literal["size", "memory", "accuracy"]) -> list[Option]:
    """Those with the least of it, sizes within 5%; all where nothing is known."""
    known = [(one, found) for one in options if (found := VALUES[by](one)) is not None]
    if not known:
        return list(options)
    least = min(found for _, found in known)
    limit = least if by == "accuracy" else least * (1 + SAME_SIZE)
    return [one for one, found in known if found <= limit]


def _out_of_bounds(options: Sequence[Option], wish: Wish) -> dict[str, str]:
    """Rule 1: name -> the key of the bound that does not hold."""
    found: dict[str, str] = {}
    for key, by in BOUNDS.items():
        most: float | None = getattr(wish, key)
        values = {one.name: VALUES[by](one) for one in options}
        known = [value for value in values.values() if value is not None]
        if most is None or not known:
            continue
        limit = most if by == "accuracy" else most * min(known)
        for name, value in values.items():
            if value is None or value > limit:
                found.setdefault(name, key)
    return found
