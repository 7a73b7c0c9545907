"""What taggers score: spans found, exact matches, and how errors change against a reference.

Spans are read from BIO labels as `compactor_runtimes.slots.spans` does, as conlleval and seqeval do.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from compactor_runtimes.metrics import Interval
from compactor_runtimes.slots import spans

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Labels = Sequence[Sequence[str]]
RESAMPLES = 2_000


def span_counts(predicted: Labels, gold: Labels) -> "NDArray[np.int64]":
    """Count the spans of each text: int64 [N, 3] = (in both, predicted, true).

    Args:
        predicted: BIO labels of each text's words.
        gold: the true ones, also such as nobody can predict.

    Raises:
        ValueError: another number of texts.
    """
    import numpy as np

    counts = np.zeros((len(gold), 3), np.int64)
    for row, (ours, theirs) in enumerate(zip(predicted, gold, strict=True)):
        found, true = set(spans(ours)), set(spans(theirs))
        counts[row] = len(found & true), len(found), len(true)
    return counts


def f1_of(counts: "NDArray[np.int64]") -> float:
    """Micro F1 of spans: 2 in both / (predicted + true), over all texts and, where there are any, seeds.

    Without any span on either side nothing is wrong, and it is 1.
    """
    both, predicted, true = counts.reshape(-1, 3).sum(0).tolist()
    return 2 * both / (predicted + true) if predicted + true else 1.0


def exact_match(intent_right: "NDArray[np.bool_]", predicted: Labels, gold: Labels) -> "NDArray[np.bool_]":
    """Whether the intent is right and every word has its true label, bool [N]."""
    import numpy as np

    same = [list(ours) == list(theirs) for ours, theirs in zip(predicted, gold, strict=True)]
    return np.asarray(intent_right & np.array(same, dtype=bool))


def bootstrap(
    figure: "Callable[[NDArray[np.float64]], NDArray[np.float64]]",
    sums: "NDArray[np.generic]",
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """Bootstrap a figure of sums over texts.

    Args:
        figure: maps sums [R, K] to R values.
        sums: what each text adds, [N, K] (over seeds added up); several systems side by side pair them.
        seed: of the resampling.
        resamples: R.

    Returns:
        The figure of all texts, with the 2.5% and 97.5% quantiles of the resamples.
    """
    import numpy as np

    values, n = sums.astype(np.float64), len(sums)
    rng, found = np.random.default_rng(seed), []
    for start in range(0, resamples, 500):
        draws = rng.multinomial(n, np.full(n, 1 / n), size=min(500, resamples - start))  # [R, N]
        found.append(figure(draws @ values))
    low, high = np.quantile(np.concatenate(found), [0.025, 0.975])
    return Interval(value=float(figure(values.sum(0)[None])[0]), low=float(low), high=float(high), n=n)


def f1_interval(counts: "NDArray[np.int64]", *, seed: int = 0) -> Interval:
    """Micro F1 of spans with its interval over texts; counts [N, 3]."""
    return bootstrap(_f1, counts, seed=seed)


def relative_error_change(error: float, reference: float) -> float | None:
    """(E_new - E_ref) / E_ref, negative is better (arXiv 2206.07808); None if the reference has no error."""
    return (error - reference) / reference if reference > 0 else None


def _f1(sums: "NDArray[np.float64]") -> "NDArray[np.float64]":
    import numpy as np

    total = sums[:, 1] + sums[:, 2]
    return np.where(total > 0, 2 * sums[:, 0] / np.maximum(total, 1), 1.0)
