"""The frozen teachers of a stage: eval mode, no gradient, own normalisation, mixed into one Outputs.

They are a plain object, never a sub-module of anything trained, so that train(), parameters() and
state_dict() of the student cannot reach them.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compactor.data.class_names import match_classes, shown
from compactor.mixers import DEFAULT_MIXER, MIXERS, TeacherMixer
from compactor.models.build import build_model, load_model_folder
from compactor.models.class_order import put_in_order
from compactor.models.features import Feature, capture
from compactor.models.student import Student
from compactor.recipe.spec import STAGE, ModelSpec
from compactor.records import MASK, Batch, DataInfo, Outputs
from compactor_runtimes.errors import UsageError
from compactor_runtimes.tables import lookup

NOTHING: Mapping[str, Feature] = MappingProxyType({})


class Teachers:
    """Run all teachers on a batch; features are those of the first one."""

    def __init__(self, models: Sequence[nn.Module], mixer: TeacherMixer | None = None) -> None:
        """Freeze the models."""
        self.models = [model.eval().requires_grad_(False) for model in models]
        self.mixer: TeacherMixer = mixer or lookup(MIXERS, DEFAULT_MIXER, "mixer")()
        self.device = torch.device("cpu")

    def to(self, device: torch.device) -> "Teachers":
        """Move all teachers to a device."""
        self.device = device
        for model in self.models:
            model.to(device)
        return self

    @torch.no_grad()
    def __call__(self, batch: Batch, features: Mapping[str, Feature] = NOTHING) -> Outputs:
        """Return what the mixer makes of all logits, and the features asked for."""
        outputs = []
        for index, model in enumerate(self.models):
            with capture(model, NOTHING if index else features) as seen:
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
            _keep(outputs.logits, self._logits, batch)
            if len(self.models) > 1:  # of one, logits say it all
                _keep(outputs.log_probs or {}, self._log_probs, batch)

    def __call__(self, batch: Batch, features: Mapping[str, Feature] = NOTHING) -> Outputs:
        """Return what was said of these samples: [B, C], of words [B, L, C], of 0 where a text has ended."""
        assert not features
        logits = self._recall(self._logits, batch)
        if len(self.models) == 1:
            return self.mixer([Outputs(logits)])
        return Outputs(logits, self._recall(self._log_probs, batch))

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


def open_teacher(reference: ModelSpec | str, info: DataInfo, base: Path, done: Mapping[str, Path]) -> Student:
    """Open a teacher: the student of an earlier stage, or a model with weights.

    Args:
        reference: its entry in the recipe.
        info: the data that it answers on.
        base: folder that relative paths resolve against.
        done: model folders of finished stages by id.

    Raises:
        UsageError: a part of its weights is random.
    """
    if isinstance(reference, str):
        model = load_model_folder(done[reference.removeprefix(STAGE)])
        _in_order_of(model, info, reference)
        return model
    model = build_model(reference, info, base=base).eval()
    if model.untrained:
        raise UsageError(
            f"teacher {reference.model}: its weights hold no {', '.join(model.untrained[:2])}, so these are "
            "random; train it in a stage of its own and name that stage as the teacher"
        )
    return model


def _in_order_of(model: Student, info: DataInfo, name: str) -> None:
    """Put the classes of a stage that was trained on other data in the data's order.

    Raises:
        UsageError: it tells other classes apart.
    """
    head = info.heads[0]
    theirs, ours = (list(one.classes.get(head.name, [])) for one in (model.info, info))
    if not head.is_labelled or head.level != "sample" or theirs == ours:
        return
    match = match_classes(theirs, ours, where=f"teacher {name}")
    if match is None:
        raise UsageError(
            f"teacher {name}: tells other classes apart ({shown(theirs)}) than the data have "
            f"({shown(ours)}); train it on data with the same classes"
        )
    put_in_order(model, match, info, name)


def describe_teacher(reference: ModelSpec | str) -> str:
    """A teacher's name for tables."""
    return reference.removeprefix(STAGE) if isinstance(reference, str) else reference.model


def teacher_provenance(reference: ModelSpec | str, digests: Mapping[str, str]) -> dict[str, object]:
    """What the manifest says of a teacher: its recipe entry, or the stage and its cache key."""
    if isinstance(reference, str):
        return {"stage": reference.removeprefix(STAGE), "digest": digests[reference.removeprefix(STAGE)]}
    plain: dict[str, object] = msgspec.to_builtins(reference)
    return plain
