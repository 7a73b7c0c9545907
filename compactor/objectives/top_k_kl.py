"""KL divergence to a top-k target among its k classes alone, as FIRST distils (its paper's rule)."""

from compactor.objectives import LogitObjective
from compactor.objectives.divergences import times
from compactor.records import Batch, Outputs, Soft, Step, Target, Term


class TopKKl(LogitObjective):
    """KL(P' || S): the student's probabilities of the target's k classes, divided by their sum, are S.

    S is a softmax over k logits, which is exact however little of the student's mass they hold, so that no
    constant has to keep the sum away from 0. What the student gives to other classes costs nothing.
    """

    def __call__(
        self, student: Outputs, teacher: Outputs | None, target: Target, batch: Batch, step: Step
    ) -> dict[str, Term]:
        """Return {top_k_kl: [B], [B, L] or [P]}, or {top_k_kl.head: ...} for several heads.

        Of a head of tokens [B, L] those count that carry a label (`batch.mask`).
        """
        terms = {}
        for head, soft in target.heads.items():
            assert isinstance(soft, Soft)
            assert soft.ids is not None
            assert soft.p is not None
            log_s = student.logits[head].float().gather(-1, soft.ids).log_softmax(-1)
            loss = times(soft.p, soft.p.log() - log_s).sum(-1)
            name = "top_k_kl" if len(target.heads) == 1 else f"top_k_kl.{head}"
            terms[name] = Term(loss, batch.mask if loss.dim() == 2 else None)
        return terms
