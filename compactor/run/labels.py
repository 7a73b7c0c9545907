"""The label store of a stage: what the recipe asks for, where it lies, and whether a given one fits."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import disk_usage
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from compactor.cache.code import code_digest
from compactor.cache.digest import TOOLS, digest_of, file_digest, tool_versions
from compactor.cache.folder import WEIGHTS, RunFolders
from compactor.data.folds import fold_of_each
from compactor.data.spec import AugmentSpec, SplitName
from compactor.data.splits import Dataset, Split
from compactor.label_store.folds import cross_fit_of
from compactor.label_store.header import (
    STORE_FILE,
    UNFINISHED_FILE,
    Head,
    Header,
    Part,
    Payload,
    Transform,
    read_header,
)
from compactor.label_store.write import forecast_bytes, ids_file, shard_rows_of
from compactor.locate import locate
from compactor.mixers import DEFAULT_MIXER, MIXERS
from compactor.models import WRAPPERS
from compactor.models.references import Identities, model_sources
from compactor.models.stated_classes import class_match, has_classes_of_a_sample, stated_classes
from compactor.recipe.load import LoadedRecipe
from compactor.recipe.spec import STAGE, LabelsSpec, MixerSpec, ModelSpec, StageSpec, moved
from compactor.records import TeacherRan, TeacherRuntimeName
from compactor.samplers import only_kept, sampler_options
from compactor.tasks import TASKS
from compactor_runtimes.backends import RUNTIMES
from compactor_runtimes.errors import IntegrityError, UnfitEnvironmentError, UsageError
from compactor_runtimes.units import scaled

# what decides the answers of a teacher that torch does not compute, with the exporters
MOVES = (
    "compactor.release.teacher_runtimes",
    "compactor.release.runtime_choice",
    "compactor_exporters.onnx_fp32",
    "compactor_exporters.int8.export",
    *(row.opener for row in RUNTIMES.values() if row.extra in ("ort", "openvino")),
)
SPLITS: tuple[SplitName, ...] = ("train", "select", "report")


@dataclass(frozen=True)
class LabelJob:
    """A stage's label store: its folder, its cache key, and what the recipe wants of it.

    `fold_of_row` are the folds of the training samples where labels are cross-fitted.
    """

    stage: StageSpec
    folder: Path
    digest: str
    wanted: Header
    splits: dict[SplitName, Split]
    fold_of_row: NDArray[np.int64] | None = None

    def completed(self, done: Mapping[str, Path]) -> "LabelJob":
        """The same job with the weights of teachers that were no finished stages when it was planned."""
        teachers = [
            one | {"weights": _stage_weights(one["stage"], done)}
            if "stage" in one and one["weights"] is None
            else one
            for one in self.wanted.teachers
        ]
        return replace(self, wanted=msgspec.structs.replace(self.wanted, teachers=teachers))

    @property
    def spec(self) -> LabelsSpec:
        """The stage's settings of labels."""
        assert self.stage.labels is not None
        return self.stage.labels

    @property
    def is_given(self) -> bool:
        """Whether the recipe names a store that was made elsewhere."""
        return self.spec.store is not None

    @property
    def is_made(self) -> bool:
        """Whether the store is finished and none of its files has gone."""
        if not (self.folder / STORE_FILE).is_file():
            return False
        header = read_header(self.folder)
        names = [name for part in header.parts for name in (part.ids, *(one.file for one in part.shards))]
        return all((self.folder / name).is_file() for name in (*names, *header.folds_file))

    @property
    def begun(self) -> Header | None:
        """What a store says that was begun, or finished by others meanwhile; None where there is none."""
        for name in (UNFINISHED_FILE, STORE_FILE):
            with suppress(IntegrityError):  # there is no such file, or it has just gone
                return read_header(self.folder, name)
        return None

    @property
    def recorded_runtimes(self) -> dict[int, TeacherRuntimeName]:
        """What computes the teachers' answers in a store that was begun, by their place."""
        begun = self.begun
        return {} if begun is None else {one.number: one.runtime for one in begun.runtimes or ()}

    @property
    def records(self) -> int:
        """Views to label, over all parts."""
        return sum(part.rows * part.views for part in self.wanted.parts)

    def describe(self) -> str:
        """Size and contents in a few words."""
        if self.is_given:
            return f"labels from {self.folder}"
        spec = self.spec
        kept = (
            f"{spec.quantization} {spec.k}" if spec.quantization.startswith("marginal") else spec.quantization
        )
        fitted = f", cross-fitted by {spec.folds} teachers" if spec.folds else ""
        return f"{self.records:,} crops, {kept}, {scaled(forecast_bytes(self.wanted), 'B')}{fitted}"

    def require_space(self) -> None:
        """Refuse to start what the disk cannot hold.

        Raises:
            UnfitEnvironmentError: it has less free space than the store will take.
        """
        needed, place = forecast_bytes(self.wanted), self.folder
        while not place.exists():
            place = place.parent
        free = disk_usage(place).free
        if needed > free:
            raise UnfitEnvironmentError(
                f"label store {self.folder}: will take {scaled(needed, 'B')}, the disk has "
                f"{scaled(free, 'B')} free; lower labels.crops or labels.k, or give another --runs"
            )


def label_job(
    loaded: LoadedRecipe,
    stage: StageSpec,
    data: Dataset,
    folders: RunFolders,
    earlier: Mapping[str, str],
    done: Mapping[str, Path],
    known: Identities,
) -> LabelJob:
    """Describe the store that a stage with `labels` learns from.

    Args:
        loaded: the recipe.
        stage: the stage.
        data: its opened data set.
        folders: where the recipe's runs lie.
        earlier: cache keys of the stages before it.
        done: model folders of those that are finished.
        known: what identifies the teachers.

    Raises:
        UsageError: a given store, or a teacher's weights, cannot be found.
        UnfitEnvironmentError: a teacher is a stage that cannot run here.
    """
    assert stage.labels is not None
    spec, recipe = stage.labels, loaded.recipe
    teachers, mixer = recipe.stage_teachers(stage), _mixer(stage)
    seed = recipe.seed if stage.seed is None else stage.seed
    train = only_kept(data.train, sampler_options(stage, f"stage {stage.id}"), seed)
    splits = {data.train.name: train}
    fold_of_row = None
    if spec.folds is not None:  # of all samples, as those that teach are trained without them
        fold_of_row = fold_of_each(data.train, spec.folds)[np.searchsorted(data.train.rows, train.rows)]
    if spec.evaluation:
        splits |= {data.select.name: data.select, data.report.name: data.report}
    sources = [
        "compactor.label_store.make",
        "compactor.teachers",
        MIXERS[DEFAULT_MIXER],
        *([] if mixer is None else [MIXERS[mixer.name]]),
        TASKS[recipe.stage_task(stage)],
        WRAPPERS[recipe.stage_task(stage)],
    ]
    sources += [name for one in teachers if isinstance(one, ModelSpec) for name in model_sources(one)]
    sources += MOVES if moved(teachers) else ()
    wanted = Header(
        payload=_payload(spec, data),
        heads=[Head(name=head, num_classes=len(names)) for head, names in data.info.classes.items()],
        boxes=spec.boxes if data.info.image else "none",
        transform=_transform(stage, data),
        teachers=[
            described_teacher(one, known, done) | teacher_order(one, data, loaded.base) for one in teachers
        ],
        classes=data.info.classes,
        data=recipe.stage_data(stage).dataset,
        seed=spec.seed,
        precision=stage.precision,
        versions=tool_versions(TOOLS),
        source_digest=code_digest(sources),
        parts=[_part(split, data, spec.crops) for split in splits.values()],
        mixer=UNSET if mixer is None else msgspec.to_builtins(mixer),
        cross_fit=UNSET if fold_of_row is None else cross_fit_of(fold_of_row, spec.folds or 0),
    )
    if spec.store is not None:
        folder = locate(spec.store, loaded.base, what=f"stage {stage.id}.labels.store")
        header = folder / STORE_FILE
        key = file_digest(header) if header.is_file() else ""
        return LabelJob(stage, folder, key, wanted, splits)
    if spec.crops > 1 and not data.info.image:
        raise UsageError(
            f"stage {stage.id}.labels.crops: {spec.crops} found, but texts have one view each; set it to 1"
        )
    # a stage enters by its own key, so that the folder is known before its weights are
    made_by = [
        known.model(one) | teacher_order(one, data, loaded.base)
        if isinstance(one, ModelSpec)
        else known.reference(one, earlier)
        for one in teachers
    ]
    key = digest_of(msgspec.to_builtins(wanted) | {"teachers": made_by})
    return LabelJob(stage, folders.labels(key), key, wanted, splits, fold_of_row)


def require_fit(job: LabelJob, header: Header) -> None:
    """Refuse a store that does not hold what the recipe asks for, and say which part differs.

    Raises:
        UsageError: another teacher, data set, transform or set of classes, or labels that cannot be read so.
    """
    from compactor.label_store.quantization import require_readable

    at, wanted = f"stage {job.stage.id}: label store {job.folder}", job.wanted
    is_known = all(one["weights"] is not None for one in wanted.teachers)  # of stages, once they are trained
    if wanted.teachers and is_known and wanted.teachers != header.teachers:
        raise UsageError(
            f"{at}: was made by another teacher ({_names(header.teachers)} found, {_names(wanted.teachers)} "
            f"expected{_same_names(header, wanted)}); name that teacher, or label again"
        )
    if wanted.teachers and wanted.mixer != header.mixer:
        raise UsageError(
            f"{at}: its teachers were mixed otherwise ({_mixed(header)} found, {_mixed(wanted)} expected); "
            "set the stage's mixer to what the store has, or label again"
        )
    if wanted.teachers and wanted.cross_fit != header.cross_fit:
        raise UsageError(
            f"{at}: its samples were shared among its teachers otherwise ({_divided(header)} found, "
            f"{_divided(wanted)} expected); set labels.cross_fit to what the store has, or label again"
        )
    if wanted.classes != header.classes:
        raise UsageError(f"{at}: has other classes than the data; label again with this data set")
    for part in wanted.parts:
        theirs = next((one for one in header.parts if one.split == part.split), None)
        if part.split == "train" and (theirs is None or theirs.source != part.source):
            found = "no such part" if theirs is None else f"{header.data}, digest {theirs.source[:12]}"
            raise UsageError(
                f"{at}: was made of other data ({found}; the recipe's {wanted.data} has {part.source[:12]}); "
                "train on the data that were labelled, or label again"
            )
    for name in wanted.transform.__struct_fields__:
        expected, found = getattr(wanted.transform, name), getattr(header.transform, name)
        if expected != found:
            raise UsageError(
                f"{at}: was made with another transform ({name} {_plain(found)} found, {_plain(expected)} "
                "expected); set the stage to what the store has, or label again"
            )
    for head in header.heads:
        require_readable(header.payload, job.spec.quantization, job.spec.k, head.num_classes)


def divided_as(wanted: Header, begun: Header | None) -> Header:
    """The header with the shards and the threads of a store that was begun, where there is one."""
    if begun is None:
        return wanted
    rows = {part.split: part.shard_rows for part in begun.parts}
    parts = [
        msgspec.structs.replace(part, shard_rows=rows.get(part.split, part.shard_rows))
        for part in wanted.parts
    ]
    return msgspec.structs.replace(wanted, parts=parts, threads=begun.threads)


def with_runtimes(wanted: Header, ran: list[TeacherRan]) -> Header:
    """The header of a store that is made by teachers on other runtimes; the same where there are none."""
    return msgspec.structs.replace(wanted, runtimes=ran) if ran else wanted


def _mixer(stage: StageSpec) -> MixerSpec | None:
    """The stage's mixer; None of the mean, which stores had before there were others."""
    chosen = stage.chosen_mixer
    return None if chosen is None or chosen.name == DEFAULT_MIXER else chosen


def _payload(spec: LabelsSpec, data: Dataset) -> Payload:
    from compactor.label_store.quantization import payload_of

    fewest = min(len(names) for names in data.info.classes.values())  # one layout serves all heads
    return payload_of(spec.quantization, spec.k, fewest, probabilities=spec.probabilities)


def _transform(stage: StageSpec, data: Dataset) -> Transform:
    image, text = data.info.image, data.info.text
    if image is not None:
        return Transform(augment=stage.augment, image=(image.height, image.width, image.channels))
    assert text is not None
    return Transform(augment=AugmentSpec(), tokenizer=file_digest(text.tokenizer), max_tokens=text.max_tokens)


def described_teacher(
    reference: ModelSpec | str, known: Identities, done: Mapping[str, Path]
) -> dict[str, Any]:
    """A teacher by its weights; those of a stage that is not finished are not known yet (None)."""
    if isinstance(reference, ModelSpec):
        return known.model(reference)
    return {"stage": reference, "weights": _stage_weights(reference, done)}


def teacher_order(reference: ModelSpec | str, data: Dataset, base: Path) -> dict[str, Any]:
    """Where the data's classes are among a teacher's answers, unless they are the same in the same order."""
    if not isinstance(reference, ModelSpec) or not has_classes_of_a_sample(data.info):
        return {}
    classes = stated_classes(reference, base)
    match = None if classes is None else class_match(classes, reference, data.info)
    return {} if match is None or match.is_identity else {"order": list(match.order)}


def _stage_weights(reference: str, done: Mapping[str, Path]) -> str | None:
    folder = done.get(reference.removeprefix(STAGE))
    return None if folder is None else file_digest(folder / WEIGHTS)


def _part(split: Split, data: Dataset, crops: int) -> Part:
    sources = data.info.extra["sources"]
    views = crops if split.name == "train" else 1
    name, _, digest = ids_file(split.name, split.rows)
    return Part(
        split=split.name,
        rows=len(split),
        views=views,
        source=sources.get(split.name, sources["train"]),
        ids=name,
        ids_sha256=digest,
        shard_rows=shard_rows_of(len(split), views),
    )


def _names(teachers: list[dict[str, Any]]) -> str:
    return " + ".join(str(one.get("model", one.get("stage"))) for one in teachers)


def _same_names(header: Header, wanted: Header) -> str:
    if _names(header.teachers) != _names(wanted.teachers):
        return ""
    return ", with other weights or settings"


def _mixed(header: Header) -> str:
    if isinstance(header.mixer, UnsetType):
        return DEFAULT_MIXER
    options = ", ".join(f"{key}: {value}" for key, value in header.mixer["options"].items())
    return f"{header.mixer['name']}{f' with {options}' if options else ''}"


def _divided(header: Header) -> str:
    found = header.cross_fit
    return "all by all" if isinstance(found, UnsetType) else f"{found.folds} folds, {found.rule}"


def _plain(value: Any) -> str:
    if isinstance(value, AugmentSpec):
        default = AugmentSpec()
        names = [name for name in value.__struct_fields__ if getattr(value, name) != getattr(default, name)]
        return f"{{{', '.join(f'{name}: {getattr(value, name)}' for name in names) or 'crop: none'}}}"
    return repr(value)
