"""The hardest, or easiest, share of the training samples, by scores of earlier stages: baselines of pruning.

EL2N: Paul, Ganguli, Dziugaite, "Deep Learning on a Data Diet" (arXiv 2107.07075), section 2. Forgetting:
Toneva et al., "An Empirical Study of Example Forgetting" (arXiv 1812.05159), as `targets.forgetting` counts.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from compactor.data.splits import Split, proportional_quota
from compactor.recipe.spec import STAGE, StageSpec
from compactor.records import IGNORE, Training
from compactor.samplers import FEWEST, SamplerOptions
from compactor.samplers.earlier import Earlier
from compactor.samplers.subset import class_of_each
from compactor.trainer.contracts import Sampler
from compactor_runtimes.errors import UsageError

if TYPE_CHECKING:
    from compactor.teachers import Teachers

SALT = 7  # keeps the order of equal scores apart from other draws that have the same seed
RECORDS_FORGETTING = "record_forgetting"  # the option of a method that lets its stage count


class Options(SamplerOptions, frozen=True, kw_only=True):
    """`share` of the training samples is kept in every epoch: the `hardest`, or `easiest`, of all.

    `by` el2n: the distance of what a student answered from the label; forgetting: how often a sample went
    from right to wrong while the stage was trained (`options: {record_forgetting: true}`). `scores` names
    that earlier stage; of several the mean is taken. With `balanced` the share is kept of each class.
    """

    share: Annotated[float, Meta(gt=0, le=1)]
    by: Literal["el2n", "forgetting"]
    scores: str | Annotated[list[str], Meta(min_length=1)]
    keep: Literal["hardest", "easiest"] = "hardest"
    balanced: bool = False

    @property
    def references(self) -> list[str]:
        """The stages that score."""
        return [self.scores] if isinstance(self.scores, str) else self.scores

    @property
    def same_rows(self) -> list[str]:
        """Counts are kept by sample, answers are asked for anew."""
        return self.references if self.by == "forgetting" else []

    def check(self, earlier: Mapping[str, StageSpec], at: str) -> None:
        """Check that stages count what they are asked for.

        Raises:
            UsageError: one does not.
        """
        for reference in self.same_rows:
            if not earlier[reference.removeprefix(STAGE)].options.get(RECORDS_FORGETTING):
                raise UsageError(
                    f"{at}.scores: {reference!r} does not count how often samples are forgotten; train it "
                    f"with method supervised and options: {{{RECORDS_FORGETTING}: true}}"
                )

    def check_rows(self, split: Split, at: str, *, smoke: bool) -> None:
        """Check that every sample has a label, without which it has no score.

        Raises:
            UsageError: some have none.
        """
        unknown = int((class_of_each(split) == IGNORE).sum())
        if unknown:
            raise UsageError(
                f"{at}: {unknown:,} of {len(split):,} training samples have no label, and {self.by} compares "
                "answers with labels; leave them out, or use sampler subset"
            )

    def build(self, stage: Training, seed: int, earlier: Earlier | None = None) -> "ScoredSubset":
        """Make the sampler."""
        return ScoredSubset(self, seed, earlier)


class ScoredSubset(Sampler):
    """`round(share * n)` samples and at least 2; equal scores are put in a random order of the seed."""

    def __init__(self, options: Options, seed: int, earlier: Earlier | None) -> None:
        """Set what is kept, the seed, and where scores come from."""
        self.options, self.seed, self.earlier = options, seed, earlier
        self.chosen = np.empty(0, np.int64)
        self.classes = self.chosen

    def fit(self, split: Split, teachers: "Teachers | None") -> None:
        """Score all samples and choose."""
        self.classes = class_of_each(split)
        scores = np.zeros(len(split)) if self.earlier is None else self._scores(split, self.earlier)
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([self.seed, SALT])))
        order = np.lexsort([rng.permutation(len(split)), scores])  # ascending, ties at random
        if self.options.keep == "hardest":
            order = order[::-1]
        count = min(max(round(self.options.share * len(split)), FEWEST), len(split))
        if self.options.balanced:
            order = _by_class(order, self.classes, count)
        self.chosen = np.sort(order[:count])

    def _scores(self, split: Split, earlier: Earlier) -> NDArray[np.float64]:
        if self.options.by == "el2n":
            found = [el2n(earlier.probabilities(one), self.classes) for one in self.options.references]
        else:
            found = [
                forgetting(earlier.records(one), split.rows, reference=one) for one in self.options.references
            ]
        return np.asarray(np.mean(found, axis=0))

    def samples(self, n: int, epoch: int = 0) -> int:
        """Size of the subset."""
        return len(self.chosen)

    def positions(self, epoch: int, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Permute the subset."""
        return rng.permutation(self.chosen)

    def summary(self) -> dict[str, Any]:
        """How many are kept, of how many, in all and of each class."""
        kept = np.bincount(self.classes[self.chosen], minlength=int(self.classes.max(initial=0)) + 1)
        return {"kept": len(self.chosen), "of": len(self.classes), "kept_of_class": kept.tolist()}

    def note(self) -> str:
        """The same in words."""
        told = self.summary()
        of_class = told["kept_of_class"]
        return (
            f"keeps the {self.options.keep} {told['kept']:,} of {told['of']:,} samples by {self.options.by}, "
            f"{min(of_class):,} to {max(of_class):,} of a class"
        )

    def state_dict(self) -> dict[str, Any]:
        """What was chosen."""
        import torch

        return {"chosen": torch.from_numpy(self.chosen)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Keep to what was chosen first."""
        self.chosen = state["chosen"].numpy()


def el2n(p: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """||p - onehot(y)||_2 of probabilities [n, C] and labels [n]: 0 for a sure, right answer, at most √2."""
    error = p.copy()
    error[np.arange(len(labels)), labels] -= 1
    return np.asarray(np.sqrt((error**2).sum(1)))


def forgetting(
    records: Mapping[str, NDArray[Any]], rows: NDArray[np.int64], *, reference: str
) -> NDArray[np.float64]:
    """How often each of the samples `rows` was forgotten; one that was never learned counts as infinite.

    So that means of several stages can be told apart, infinite is one more than the visits that a stage
    counted of any sample.

    Raises:
        UsageError: the stage has not seen one of them.
    """
    from compactor.targets.forgetting import EVENTS, IDS, LEARNED, VISITS

    ids = records[IDS]
    place = np.searchsorted(ids, rows).clip(max=max(len(ids) - 1, 0))
    unseen = int((ids[place] != rows).sum()) if len(ids) else len(rows)
    if unseen:
        raise UsageError(
            f"sampler scored-subset: {reference} has not visited {unseen:,} of {len(rows):,} samples, so "
            "nobody knows whether these are forgotten; let it visit all training samples"
        )
    infinite = int(records[VISITS].max()) + 1
    counted = np.where(records[LEARNED], records[EVENTS], infinite)
    return np.asarray(counted[place], np.float64)


def _by_class(order: NDArray[np.int64], classes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The first of an order, of each class by its share (largest remainders), `count` in all."""
    found, code, sizes = np.unique(classes, return_inverse=True, return_counts=True)
    quota = proportional_quota(sizes, count)
    return np.concatenate([order[code[order] == number][: quota[number]] for number in range(len(found))])
