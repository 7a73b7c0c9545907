"""What taggers score: spans found, exact matches, and how errors change against a reference.

Spans are read from BIO labels as `compactor_runtimes.predict.bio.spans` does, as conlleval and seqeval do.
Intervals are 95%, by a bootstrap over texts. Runs of several seeds (S) on the same texts count together.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, cast

from compactor_runtimes.predict.bio import spans
from compactor_runtimes.stats.metrics import Interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

Labels = Sequence[Sequence[str]]
RESAMPLES = 10_000


def span_counts(predicted: Labels, gold: Labels) -> "NDArray[np.int64]":
    """Count the spans of each text: int64 [N, 3] = (in both, predicted, true).

    Args:
        predicted: BIO labels of each text's words.
        gold: the true ones, also such as nobody can predict.

    Raises:
        ValueError: another number of texts, or of words in one.
    """
    import numpy as np

    counts = []
    for ours, theirs in _pairs(predicted, gold, "span_counts"):
        found, true = set(spans(ours)), set(spans(theirs))
        counts.append((len(found & true), len(found), len(true)))
    return np.array(counts, np.int64).reshape(-1, 3)


def f1_of(counts: "NDArray[np.int64]") -> float:
    """Micro F1 of spans: 2 in both / (predicted + true), over all texts and, where there are any, seeds.

    Without any span on either side nothing is wrong, and it is 1 (seqeval says 0).
    """
    both, predicted, true = counts.reshape(-1, 3).sum(0).tolist()
    return 2 * both / (predicted + true) if predicted + true else 1.0


def f1_interval(counts: "ArrayLike", *, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """Micro F1 of spans with its interval over texts; counts [N, 3] or [S, N, 3]."""
    return bootstrap(lambda sums: 1 - _f1_error(sums), _of_texts(counts), seed=seed, resamples=resamples)


def slot_error_rate(predicted: Labels, gold: Labels, *, seed: int = 0) -> Interval:
    """(S + I + D) / true spans; it may exceed 1.

    S: spans with the bounds of a true one and another name; D: true spans whose bounds were not predicted;
    I: predicted spans whose bounds are no true span's. Example: true `B-a I-a O B-b`, predicted
    `B-c I-c B-d O`: a became c (S), d is too many (I), b is missing (D), so 3 / 2.

    Raises:
        ValueError: no true span, or another number of texts or words.
    """
    import numpy as np

    counts = []
    for ours, theirs in _pairs(predicted, gold, "slot_error_rate"):
        found = {(start, end): name for name, start, end in spans(ours)}
        true = {(start, end): name for name, start, end in spans(theirs)}
        renamed = sum(true[bounds] != found[bounds] for bounds in found.keys() & true.keys())
        counts.append((renamed + len(found.keys() ^ true.keys()), len(true)))
    sums = np.array(counts, np.int64).reshape(-1, 2)
    if not sums[:, 1].any():
        raise ValueError(f"slot_error_rate: no span in the {len(sums)} true texts, expected at least one")
    return bootstrap(lambda drawn: _ratio(drawn[:, 0], drawn[:, 1]), sums, seed=seed)


def exact_match(intent_right: "NDArray[np.bool_]", predicted: Labels, gold: Labels) -> "NDArray[np.bool_]":
    """Whether the intent is right and every word has its true label, bool [N].

    Raises:
        ValueError: another number of texts, or of words in one.
    """
    import numpy as np

    pairs = _pairs(predicted, gold, "exact_match")
    same = np.array([list(ours) == list(theirs) for ours, theirs in pairs], dtype=bool)
    if same.shape != np.shape(intent_right):
        raise ValueError(f"exact_match: got intents {np.shape(intent_right)}, expected {same.shape}")
    return cast("NDArray[np.bool_]", np.asarray(intent_right, bool) & same)


def relative_error_change(error: float, reference: float) -> float | None:
    """(E_new - E_ref) / E_ref, negative is better (arXiv 2206.07808); None if the reference has no error."""
    return (error - reference) / reference if reference > 0 else None


def relative_error_interval(
    right: "ArrayLike", reference: "ArrayLike", *, seed: int = 0, resamples: int = RESAMPLES
) -> Interval | None:
    """Relative error change of accuracies, paired: both answered the same texts.

    A resample in which the reference happens to make no error and the other does counts as infinitely worse,
    so that `high` is infinite where the reference errs on very few texts.

    Args:
        right: bool [N] or [S, N].
        reference: bool [N] or [S', N], of what is compared with.
        seed: of the resampling.
        resamples: bootstrap repetitions.

    Returns:
        The change as a share (-0.05: 5% fewer errors), None where the reference makes no error.

    Raises:
        ValueError: the two have different N, or none.
    """
    import numpy as np

    ours, theirs = np.atleast_2d(np.asarray(right, bool)), np.atleast_2d(np.asarray(reference, bool))
    _check_same(ours.shape[1:], theirs.shape[1:], "relative_error_interval")
    if theirs.all():
        return None
    # errors in units of 1 / (S * S'), so that both are whole numbers
    sums = np.stack([(~ours).sum(0) * len(theirs), (~theirs).sum(0) * len(ours)], axis=1)
    return bootstrap(lambda drawn: _change(drawn[:, 0], drawn[:, 1]), sums, seed=seed, resamples=resamples)


def relative_f1_error_interval(
    counts: "ArrayLike", reference: "ArrayLike", *, seed: int = 0, resamples: int = RESAMPLES
) -> Interval | None:
    """Relative change of 1 - F1 of spans, as `relative_error_interval`; counts [N, 3] or [S, N, 3] each.

    Raises:
        ValueError: the two have different N, or none.
    """
    import numpy as np

    ours, theirs = _of_texts(counts), _of_texts(reference)
    _check_same(ours.shape[:1], theirs.shape[:1], "relative_f1_error_interval")
    if f1_of(theirs) == 1:
        return None

    def change(sums: "NDArray[np.float64]") -> "NDArray[np.float64]":
        return _change(_f1_error(sums[:, :3]), _f1_error(sums[:, 3:]))

    return bootstrap(change, np.concatenate([ours, theirs], axis=1), seed=seed, resamples=resamples)


def bootstrap(
    figure: "Callable[[NDArray[np.float64]], NDArray[np.float64]]",
    sums: "NDArray[np.int64]",
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """Bootstrap a figure of sums over texts.

    Args:
        figure: maps sums [R, K] to R values, which may be infinite.
        sums: what each text adds, [N, K] (over seeds added up); several systems side by side pair them.
        seed: of the resampling.
        resamples: R.

    Returns:
        The figure of all texts, with the resamples at 2.5% and 97.5% (the next ones outwards).

    Raises:
        ValueError: no texts.
    """
    import numpy as np

    n = len(sums)
    if n == 0:
        raise ValueError("bootstrap: got no texts, expected at least one")
    values, counts = np.unique(sums, axis=0, return_counts=True)
    # texts that add the same are drawn together: one multinomial draw over the different ones, not N indices
    rng, found, chunk = np.random.default_rng(seed), [], max(1, 1_000_000 // len(values))
    for start in range(0, resamples, chunk):
        draws = rng.multinomial(n, counts / n, size=min(chunk, resamples - start))  # [R, different texts]
        found.append(figure(draws.astype(np.float64) @ values.astype(np.float64)))
    ordered, last = np.sort(np.concatenate(found)), resamples - 1
    low, high = ordered[math.floor(0.025 * last)], ordered[math.ceil(0.975 * last)]
    whole = figure(sums.sum(0).astype(np.float64)[None])[0]
    return Interval(value=float(whole), low=float(low), high=float(high), n=n)


def _of_texts(counts: "ArrayLike") -> "NDArray[np.int64]":
    """Counts [N, 3], added up over seeds where there are any."""
    import numpy as np

    found = np.asarray(counts, np.int64)
    return cast("NDArray[np.int64]", found.sum(0) if found.ndim == 3 else found)


def _f1_error(sums: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """1 - F1 of sums [R, 3]; written so that it is exactly 0 where every span is right."""
    total = sums[:, 1] + sums[:, 2]
    return _ratio(total - 2 * sums[:, 0], total)


def _change(error: "NDArray[np.float64]", reference: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """Relative error change of each resample; 0 where neither errs."""
    return _ratio(error - reference, reference)


def _ratio(part: "NDArray[np.float64]", whole: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """Divide; 0 of 0 is 0, more than 0 of 0 is infinite."""
    import numpy as np

    alone = np.where(part > 0, np.inf, 0.0)
    return cast("NDArray[np.float64]", np.divide(part, whole, out=alone, where=whole > 0))


def _pairs(predicted: Labels, gold: Labels, who: str) -> Iterator[tuple[Sequence[str], Sequence[str]]]:
    """Labels of each text side by side, after a look at their lengths."""
    if len(predicted) != len(gold):
        raise ValueError(f"{who}: got labels of {len(predicted)} texts, expected {len(gold)}")
    for number, (ours, theirs) in enumerate(zip(predicted, gold, strict=True)):
        if len(ours) != len(theirs):
            raise ValueError(f"{who}: text {number}: got {len(ours)} labels, expected {len(theirs)}")
        yield ours, theirs


def _check_same(ours: tuple[int, ...], theirs: tuple[int, ...], who: str) -> None:
    if ours != theirs or ours == (0,):
        raise ValueError(f"{who}: got {ours} and {theirs} texts, expected the same, and at least one")
