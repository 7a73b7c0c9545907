"""Which samples without a label the teachers are asked about, on a budget: robust active distillation.

Baykal et al., "Robust Active Distillation" (ICLR 2023). Picks are made once, when a stage begins; rounds are
stages, each of which names those before it. The choice itself is `compactor.samplers.robust_game`.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from compactor.data.splits import Split
from compactor.recipe.spec import STAGE, StageSpec
from compactor.records import IGNORE, Batch, Count, Outputs, Step, Term, Training
from compactor.samplers import SamplerOptions
from compactor.samplers.earlier import Earlier
from compactor.samplers.robust_game import gains_of, marginals, pick, robust_distribution
from compactor.samplers.subset import class_of_each
from compactor.trainer.contracts import Sampler
from compactor_runtimes.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from compactor.teachers import Teachers

SALT = 8  # keeps the picks apart from other draws that have the same seed
QUERIED = "queried.ids"  # the array that is kept for later rounds: all that was asked so far
HARD = "hard_ce"  # the term that reads labels; all others listen to teachers
NAME = "query"


class Options(SamplerOptions, frozen=True, kw_only=True):
    """Teachers are asked about `budget` samples without a label; the stage trains on these and the labelled.

    `rule` says which: `robust` ones by the gains of the student of stage `scorer`, if teachers are wrong on
    `wrong` of them (absent: their share of errors on select, of all that could be picked); of the largest
    `margin` gain; or `uniform` at random. `gain` is 1 - (largest - second probability), or the entropy.
    `queried` names stages of earlier rounds: what these asked stays, beside the budget.
    """

    needs_teacher: ClassVar[bool] = True
    mixes: ClassVar[bool] = True

    budget: Count
    rule: Literal["robust", "margin", "uniform"] = "robust"
    scorer: str | None = None
    gain: Literal["margin", "entropy"] = "margin"
    wrong: Annotated[int, Meta(ge=0)] | None = None
    queried: list[str] = []

    def __post_init__(self) -> None:
        """Check that every option has an effect.

        Raises:
            ValueError: gains without a scorer, or an option that the rule does not read.
        """
        if self.rule == "uniform" and self.scorer is not None:
            raise ValueError("scorer has no effect with rule uniform, which draws at random; remove it")
        if self.rule != "uniform" and self.scorer is None:
            raise ValueError(f"scorer is absent, but rule {self.rule} needs a student's gains; name a stage")
        if self.rule != "robust" and (self.wrong is not None or self.gain != "margin"):
            raise ValueError(f"wrong and gain have no effect with rule {self.rule}; remove them")

    @property
    def references(self) -> list[str]:
        """The scorer and the earlier rounds."""
        return [*([] if self.scorer is None else [self.scorer]), *self.queried]

    @property
    def same_rows(self) -> list[str]:
        """Picks are kept by sample, answers are asked for anew."""
        return self.queried

    def check(self, earlier: Mapping[str, StageSpec], at: str) -> None:
        """Check that earlier rounds have asked.

        Raises:
            UsageError: a stage has not.
        """
        for reference in self.queried:
            chosen = earlier[reference.removeprefix(STAGE)].chosen_sampler
            if chosen is None or chosen.name != NAME:
                raise UsageError(
                    f"{at}.queried: {reference!r} has not asked teachers about samples; name stages with "
                    f"sampler {NAME}"
                )

    def check_rows(self, split: Split, at: str, *, smoke: bool) -> None:
        """Check that there are as many samples without a label as the budget allows.

        Raises:
            UsageError: there are fewer.
        """
        unlabelled = int((class_of_each(split) == IGNORE).sum())
        if unlabelled < self.budget and not smoke:
            raise UsageError(
                f"{at}.options.budget: {self.budget:,} found, but {unlabelled:,} of {len(split):,} training "
                "samples have no label; lower it, or add samples without labels with data.also"
            )

    def build(self, stage: Training, seed: int, earlier: Earlier | None = None) -> "Query":
        """Make the sampler."""
        return Query(self, seed, earlier)


class Query(Sampler):
    """All labelled samples and all that teachers were asked about, once an epoch.

    Terms other than the cross-entropy to labels count on the latter alone. A mean is still one over all
    samples of a batch for which a term is defined.
    """

    def __init__(self, options: Options, seed: int, earlier: Earlier | None) -> None:
        """Set the budget and rule, the seed, and where gains and earlier picks come from."""
        self.options, self.seed, self.earlier = options, seed, earlier
        self.labelled = self.asked = self.rows = np.empty(0, np.int64)
        self.told: dict[str, Any] = {}

    def fit(self, split: Split, teachers: "Teachers | None") -> None:
        """Pick.

        Raises:
            UsageError: how often teachers are wrong is neither given nor known.
        """
        is_unlabelled = class_of_each(split) == IGNORE
        self.labelled, self.rows = np.flatnonzero(~is_unlabelled), split.rows
        asked = np.zeros(len(split), bool)
        if self.earlier is not None:
            for one in self.options.queried:
                asked |= np.isin(split.rows, self.earlier.records(one)[QUERIED])
        candidates = np.flatnonzero(is_unlabelled & ~asked)
        budget = min(self.options.budget, len(candidates))
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([self.seed, SALT])))
        picked = candidates[self._picked(candidates, budget, teachers, rng)]
        self.told |= {
            "rule": self.options.rule,
            "asked_now": len(picked),
            "asked_before": int(asked.sum()),
            "candidates": len(candidates),
        }
        self.asked = np.union1d(np.flatnonzero(asked), picked)

    def _picked(
        self,
        candidates: NDArray[np.int64],
        budget: int,
        teachers: "Teachers | None",
        rng: np.random.Generator,
    ) -> NDArray[np.int64]:
        """Positions among the candidates."""
        options, n = self.options, len(candidates)
        if options.scorer is None or self.earlier is None or not n:
            return rng.permutation(n)[:budget]
        gains = gains_of(self.earlier.probabilities(options.scorer)[candidates], options.gain)
        if options.rule == "margin":
            return np.lexsort([rng.permutation(n), -gains])[:budget]
        wrong = self._wrong(n, teachers)
        self.told["assumed_wrong"] = wrong
        return pick(marginals(robust_distribution(gains, wrong), gains, budget), rng)

    def _wrong(self, candidates: int, teachers: "Teachers | None") -> int:
        """How many of the candidates teachers are taken to be wrong on."""
        if self.options.wrong is not None:
            return min(self.options.wrong, candidates - 1)
        assert self.earlier is not None
        right = None if teachers is None else self.earlier.teachers_accuracy(teachers)
        if right is None:
            raise UsageError(
                f"sampler {NAME}: select has no labels, so nobody knows how often teachers are wrong; give "
                "sampler.options.wrong, a number of the samples that can be picked"
            )
        return min(math.ceil((1 - right) * candidates - 1e-9), candidates - 1)

    def samples(self, n: int, epoch: int = 0) -> int:
        """Labelled samples and those that were asked about."""
        return len(self.labelled) + len(self.asked)

    def positions(self, epoch: int, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Permute them."""
        return rng.permutation(np.concatenate([self.labelled, self.asked]))

    def weights(self, name: str, term: Term, student: Outputs, batch: Batch, step: Step) -> "Tensor | None":
        """0 for what teachers say of a labelled sample: it was not paid for."""
        labels = next((one for one in batch.y.values() if one.dim() == 1), None)
        if name.partition(".")[0] == HARD or labels is None:
            return None
        return (labels == IGNORE).to(term.loss.dtype)

    def summary(self) -> dict[str, Any]:
        """How many were asked about, by which rule, under which assumption."""
        return dict(self.told)

    def note(self) -> str:
        """The same in words."""
        told = self.told
        wrong = f", {told['assumed_wrong']:,} assumed to be wrong" if "assumed_wrong" in told else ""
        before = f", beside {told['asked_before']:,} of earlier rounds" if self.options.queried else ""
        return (
            f"asks about {told['asked_now']:,} of {told['candidates']:,} samples without a label "
            f"({told['rule']}{wrong}){before}"
        )

    def state_dict(self) -> dict[str, Any]:
        """What was picked."""
        import torch

        return {"asked": torch.from_numpy(self.asked)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Keep to what was picked first."""
        self.asked = state["asked"].numpy()

    def kept(self) -> "dict[str, NDArray[Any]]":
        """Sample ids of all that were asked about, for later rounds."""
        return {QUERIED: self.rows[self.asked]}
