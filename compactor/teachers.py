"""The frozen teachers of a stage: eval mode, no gradient, own normalisation, mixed into one Outputs.

They are a plain object, never a sub-module of anything trained, so that train(), parameters() and
state_dict() of the student cannot reach them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import msgspec
import torch
from torch import Tensor, nn

from compactor.data.class_names import match_classes, shown
from compactor.data.kept_rows import KeptRows
from compactor.mixers import TeacherMixer, mixer_options
from compactor.models.build import build_model, load_model_folder
from compactor.models.class_order import put_in_order
from compactor.models.features import Feature, capture
from compactor.models.stated_classes import group_match, has_classes_of_a_sample, with_classes
from compactor.models.student import Student, features_named
from compactor.recipe.spec import STAGE, ModelSpec
from compactor.records import MASK, PENULTIMATE, Batch, DataInfo, Outputs, TeacherClasses
from compactor_runtimes.errors import UsageError

NOTHING: Mapping[str, Feature] = MappingProxyType({})


class Teachers:
    """Run all teachers on a batch; features are those of the first one."""

    def __init__(self, models: Sequence[nn.Module], mixer: TeacherMixer | None = None) -> None:
        """Freeze the models."""
        self.models = [model.eval().requires_grad_(False) for model in models]
        self.mixer: TeacherMixer = mixer or mixer_options(None, "teachers").build()
        self._told = torch.device("cpu")
        self._needs = [features_named(self.mixer.needs, one, "teacher", at="mixer") for one in self.models]

    @property
    def device(self) -> torch.device:
        """Where the weights lie; of teachers that have none, where they were told to be."""
        return next((one.device for model in self.models for one in model.parameters()), self._told)

    def to(self, device: torch.device) -> "Teachers":
        """Move all teachers to a device."""
        self._told = device
        for model in self.models:
            model.to(device)
        return self

    def at(self, places: Sequence[int] | None) -> "Teachers":
        """The teachers at these places of the list alone; None: all."""
        if places is None:
            return self
        chosen = Teachers([self.models[place] for place in places], self.mixer)
        chosen._told = self._told
        return chosen

    @torch.no_grad()
    def __call__(self, batch: Batch, features: Mapping[str, Feature] = NOTHING) -> Outputs:
        """Return what the mixer makes of all logits, and the features asked for."""
        return self.mixer(self.answers(batch, features))

    def fit(self, info: DataInfo, train: Iterable[Batch], select: Iterable[Batch]) -> None:
        """Let the mixer see what the teachers say of all training and select samples, as they are deployed.

        Raises:
            UsageError: it cannot learn from them.
        """
        self.mixer.fit(info, self._seen(train), self._seen(select))

    def _seen(self, batches: Iterable[Batch]) -> Iterator[tuple[list[Outputs], Batch]]:
        for batch in batches:
            batch = batch.to(self.device)
            yield self.answers(batch), batch

    @torch.no_grad()
    def answers(self, batch: Batch, features: Mapping[str, Feature] = NOTHING) -> list[Outputs]:
        """What each teacher says, with the features that the mixer reads; nothing of others than it asks."""
        outputs = []
        for index, model in enumerate(self.models):
            wanted = NOTHING if index else features
            if not wanted and not self.mixer.asks(index):
                outputs.append(Outputs({}))
                continue
            with capture(model, {**wanted, **self._needs[index]}) as seen:
                outputs.append(Outputs(logits=model(**batch.x), features=seen))
        return outputs


class RememberedTeachers(Teachers):
    """Teachers of samples that look the same in every epoch: they are asked once, before training.

    That costs one epoch of teachers instead of all, and N * C floats (of words N * L * C) of memory or, where
    they are many, of the disk. Answers are those of the teachers up to rounding, and the same after an
    interruption. They have no features.
    """

    def __init__(self, teachers: Teachers, batches: Iterable[Batch], folder: Path | None = None) -> None:
        """Ask the teachers about every sample.

        Args:
            teachers: who answers; not needed any more afterwards.
            batches: all training samples as they are deployed.
            folder: where many answers go; absent = they stay in memory.

        Raises:
            UnfitEnvironmentError: the folder has no room for them.
        """
        super().__init__(teachers.models, teachers.mixer)
        self._told = teachers.device
        self._logits: dict[str, KeptRows] = {}
        self._log_probs: dict[str, KeptRows] = {}
        self._of_words: set[str] = set()
        for batch in batches:
            outputs = teachers(batch.to(teachers.device))
            self._keep(outputs.logits, self._logits, batch, folder)
            if len(self.models) > 1:  # of one, logits say it all
                self._keep(outputs.log_probs or {}, self._log_probs, batch, folder)

    def __call__(self, batch: Batch, features: Mapping[str, Feature] = NOTHING) -> Outputs:
        """Return what was said of these samples: [B, C], of words [B, L, C], of 0 where a text has ended."""
        assert not features
        logits = self._recall(self._logits, batch)
        if len(self.models) == 1:
            return self.mixer([Outputs(logits)])
        return Outputs(logits, self._recall(self._log_probs, batch))

    def _keep(
        self, answers: Mapping[str, Tensor], kept: dict[str, KeptRows], batch: Batch, folder: Path | None
    ) -> None:
        """Keep each sample's row of [B, C]; of words [B, L, C] without what was said of padding."""
        ids = batch.id.cpu().numpy()
        for head, values in answers.items():
            rows, lengths = values.float().cpu(), None
            if rows.dim() == 3:
                self._of_words.add(head)
                mask = batch.x[MASK].cpu() == 1
                rows, lengths = rows[mask], mask.sum(1).numpy()
            kept.setdefault(head, KeptRows(folder)).add(ids, rows.numpy(), lengths)

    def _recall(self, kept: dict[str, KeptRows], batch: Batch) -> dict[str, Tensor]:
        ids = batch.id.cpu().numpy()
        found = {}
        for head, known in kept.items():
            words = head in self._of_words
            rows = known.padded(ids, batch.x[MASK].shape[1]) if words else known.of(ids)
            found[head] = torch.from_numpy(rows).to(self.device)
        return found


def open_teacher(
    reference: ModelSpec | str,
    info: DataInfo,
    base: Path,
    done: Mapping[str, Path],
    asked: TeacherClasses = "all",
) -> Student:
    """Open a teacher: the student of an earlier stage, or a model with weights.

    Args:
        reference: its entry in the recipe.
        info: the data that it answers on.
        base: folder that relative paths resolve against.
        done: model folders of finished stages by id.
        asked: which of the data's classes it has to know.

    Raises:
        UsageError: it knows other classes, or a part of its weights is random.
    """
    if isinstance(reference, str):
        model = load_model_folder(done[reference.removeprefix(STAGE)])
        _in_order_of(model, info, reference, asked)
        return model
    model = build_model(reference, info, base=base, asked=asked).eval()
    if model.untrained and not (asked == "any" and _only_its_head_is_new(model)):
        raise UsageError(
            f"teacher {reference.model}: its weights hold no {', '.join(model.untrained[:2])}, so these are "
            "random; train it in a stage of its own and name that stage as the teacher"
        )
    return model


def _only_its_head_is_new(model: Student) -> bool:
    """Whether the features before the last layer are trained, which is all that a fitted head reads."""
    found = model.features.get(PENULTIMATE)
    return found is not None and all(found.path.endswith(name.rpartition(".")[0]) for name in model.untrained)


def _in_order_of(model: Student, info: DataInfo, name: str, asked: TeacherClasses) -> None:
    """Put the classes of a stage that was trained on other data in the data's order.

    Raises:
        UsageError: it tells other classes apart.
    """
    head = info.heads[0]
    theirs, ours = (list(one.classes.get(head.name, [])) for one in (model.info, info))
    if not head.is_labelled or head.level != "sample" or asked == "any" or (asked, theirs) == ("all", ours):
        return
    if asked == "some":
        group = group_match(theirs, info, f"teacher {name}", None)
        put_in_order(model, group, with_classes(info, group.data), name)
        return
    match = match_classes(theirs, ours, where=f"teacher {name}")
    if match is None:
        raise UsageError(
            f"teacher {name}: tells other classes apart ({shown(theirs)}) than the data have "
            f"({shown(ours)}); train it on data with the same classes"
        )
    put_in_order(model, match, info, name)


def group_of(model: nn.Module, info: DataInfo) -> list[int] | None:
    """Where a teacher's answers lie among the data's classes; None if it knows all, in their order."""
    if not isinstance(model, Student) or not has_classes_of_a_sample(info):
        return None
    head = info.heads[0].name
    theirs, ours = model.info.classes[head], info.classes[head]
    return None if theirs == ours else [ours.index(name) for name in theirs]


def describe_teacher(reference: ModelSpec | str) -> str:
    """A teacher's name for tables."""
    return reference.removeprefix(STAGE) if isinstance(reference, str) else reference.model


def teacher_provenance(reference: ModelSpec | str, digests: Mapping[str, str]) -> dict[str, object]:
    """What the manifest says of a teacher: its recipe entry, or the stage and its cache key."""
    if isinstance(reference, str):
        return {"stage": reference.removeprefix(STAGE), "digest": digests[reference.removeprefix(STAGE)]}
    plain: dict[str, object] = msgspec.to_builtins(reference)
    return plain
