"""The frozen teachers of a stage: eval mode, no gradient, own normalisation, mixed into one Outputs.

They are a plain object, never a sub-module of anything trained, so that train(), parameters() and
state_dict() of the student cannot reach them.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compactor.mixers import TeacherMixer
from compactor.mixers.mean import MeanMixer
from compactor.models.features import capture
from compactor.records import MASK, Batch, Outputs


class Teachers:
    """Run all teachers on a batch; features are those of the first one."""

    def __init__(self, models: Sequence[nn.Module], mixer: TeacherMixer | None = None) -> None:
        """Freeze the models."""
        self.models = [model.eval().requires_grad_(False) for model in models]
        self.mixer = mixer or MeanMixer()
        self.device = torch.device("cpu")

    def to(self, device: torch.device) -> "Teachers":
        """Move all teachers to a device."""
        self.device = device
        for model in self.models:
            model.to(device)
        return self

    @torch.no_grad()
    def __call__(self, batch: Batch, features: frozenset[str] = frozenset()) -> Outputs:
        """Return what the mixer makes of all logits, and the features asked for."""
        outputs = []
        for index, model in enumerate(self.models):
            with capture(model, features if index == 0 else frozenset()) as seen:
                outputs.append(Outputs(logits=model(**batch.x), features=seen))
        return self.mixer(outputs)


class RememberedTeachers(Teachers):
    """Teachers of samples that look the same in every epoch: they are asked once, before training.

    That costs one epoch of teachers instead of all, and N * C floats of memory (of words N * L * C). Answers
    are those of the teachers up to rounding, and the same after an interruption. They have no features.
    """

    def __init__(self, teachers: Teachers, batches: Iterable[Batch]) -> None:
        """Ask the teachers about every sample.

        Args:
            teachers: who answers; not needed any more afterwards.
            batches: all training samples as they are deployed.
        """
        super().__init__(teachers.models, teachers.mixer)
        self.device = teachers.device
        self._logits: dict[str, dict[int, Tensor]] = {}
        self._log_probs: dict[str, dict[int, Tensor]] = {}
        for batch in batches:
            outputs = teachers(batch.to(teachers.device))
            _keep(outputs.log_probs or {}, self._log_probs, batch)
            # one teacher's logits differ from its log-probabilities by a constant, which nothing reads
            single = outputs.log_probs and len(self.models) == 1
            _keep({} if single else outputs.logits, self._logits, batch)

    def __call__(self, batch: Batch, features: frozenset[str] = frozenset()) -> Outputs:
        """Return what was said of these samples, [B, C]; of words [B, L, C], zeros where a text has ended."""
        assert not features
        log_probs = self._recall(self._log_probs, batch)
        return Outputs(self._recall(self._logits, batch) or log_probs, log_probs)

    def _recall(self, kept: dict[str, dict[int, Tensor]], batch: Batch) -> dict[str, Tensor]:
        found = {}
        for head, known in kept.items():
            mine = [known[number] for number in batch.id.tolist()]
            if mine[0].dim() == 2:
                length = batch.x[MASK].shape[1]
                mine = [F.pad(one, (0, 0, 0, length - len(one))) for one in mine]
            found[head] = torch.stack(mine).to(self.device)
        return found


def _keep(answers: Mapping[str, Tensor], kept: dict[str, dict[int, Tensor]], batch: Batch) -> None:
    """Keep each sample's row of [B, C]; of words [B, L, C] without what was said of padding."""
    for head, values in answers.items():
        rows = values.float().cpu()
        lengths = batch.x[MASK].sum(1).tolist() if rows.dim() == 3 else [None] * len(rows)
        parts = (one[:length].clone() for one, length in zip(rows, lengths, strict=True))
        kept.setdefault(head, {}).update(zip(batch.id.tolist(), parts, strict=True))
