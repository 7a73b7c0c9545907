"""Methods: presets that turn a stage's options into objectives, a target policy and a sampler.

A new method is one file with a METHOD, one line in METHODS and one test.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from compactor.mixers import stage_mixer
from compactor.options import checked_options
from compactor.records import Activation, TeacherClasses
from compactor.samplers import CROP_MAJOR, SHUFFLE, sampler_options
from compactor_runtimes.errors import UsageError
from compactor_runtimes.tables import lookup, nearest

if TYPE_CHECKING:
    from compactor.methods.from_store import Stored
    from compactor.recipe.spec import LabelsSpec, ModelSpec, StageSpec
    from compactor.trainer.contracts import Preset

METHODS = {
    "supervised": "compactor.methods.supervised:METHOD",
    "kd": "compactor.methods.kd:METHOD",
    "fkd": "compactor.methods.fkd:METHOD",
    "ferkd": "compactor.methods.ferkd:METHOD",
    "meal_v2": "compactor.methods.meal_v2:METHOD",
    "ssld": "compactor.methods.ssld:METHOD",
    "encoder": "compactor.methods.encoder:METHOD",
    "embedding": "compactor.methods.embedding:METHOD",
    "dml": "compactor.methods.dml:METHOD",
    "pld": "compactor.methods.pld:METHOD",
    "weight_aligning": "compactor.methods.weight_aligning:METHOD",
    "wad": "compactor.methods.wad:METHOD",
    "lelp": "compactor.methods.lelp:METHOD",
    "first": "compactor.methods.first:METHOD",
    "self_distillation": "compactor.methods.self_distillation:METHOD",
    "simclr_v2": "compactor.methods.simclr_v2:METHOD",
    "nd": "compactor.methods.nd:METHOD",
    "dual_head": "compactor.methods.dual_head:METHOD",
    "sla": "compactor.methods.sla:METHOD",
    "ps_kd": "compactor.methods.ps_kd:METHOD",
}

CLASSES_OR_LABELS: frozenset[Activation] = frozenset({"softmax", "sigmoid"})
VIEWS = "crops_per_image"  # the option of methods that take several recorded views of a sample in a step


@dataclass(frozen=True)
class About:
    """What people ask of a method before they choose it: one line each.

    `does` says what it trains towards, `labels` whether it reads ground truth, `cost` what a step costs
    beside the student's own, `source` where it comes from. Whether teachers are asked live or through a label
    store follows from the method itself. `page` is its page in docs/methods; absent: its name, with dashes.
    """

    does: str
    labels: Literal["needed", "for a share of the loss", "not read"]
    cost: str
    source: str = ""
    page: str = ""


@dataclass(frozen=True)
class Method:
    """A method's options record, whether it learns from teachers, and how a preset is built.

    `build` makes it from the options, for live teachers or none; `build_stored` from the options and a label
    store, for a stage with `labels`. A method may have one of them or both: objectives that read the target
    alone can learn from either. `targets` names the policies of TARGETS that they use. `check_stored` refuses
    options that only live teachers can serve; it is given them, the stage's labels and where they were found,
    before anything is labelled or trained. `check_task` refuses options that mean nothing for the answers of
    a task; it is given them, the task and where they were found. `told` says what a plan should tell of
    options and stage. `activations` are those of the heads whose outputs its objectives compare: it fits the
    tasks that have these alone.
    `networks` of the student's architecture are trained in a step, itself included.
    `teacher_classes` says which of the data's classes a teacher has to know, `most_teachers` how many there
    may be (None: any number), `one_class` that it fits tasks alone that answer with one class a sample.
    `trains_subclasses` asks for a student that has some. `check_teachers` refuses a list of teachers that
    does not fit the options; `taught_by` gives the places of those that make targets where the others only
    choose something. `images_only` fits it to tasks that read images. `copies` says of the options how many
    copies of a sample a step trains on.
    """

    options: type[msgspec.Struct]
    build: "Callable[[Any], Preset] | None"
    learns_from_teachers: bool
    about: About
    build_stored: "Callable[[Any, Stored], Preset] | None" = None
    check_stored: "Callable[[Any, LabelsSpec, str], None] | None" = None
    check_task: "Callable[[Any, str, str], None] | None" = None
    told: "Callable[[Any, StageSpec], list[str]] | None" = None
    targets: tuple[str, ...] = ()
    activations: frozenset[Activation] = frozenset({"softmax"})
    networks: int = 1
    teacher_classes: TeacherClasses = "all"
    most_teachers: int | None = None
    one_class: bool = False
    trains_subclasses: bool = False
    check_teachers: "Callable[[Any, Sequence[ModelSpec | str], str], None] | None" = None
    taught_by: Callable[[Any], tuple[int, ...]] | None = None
    images_only: bool = False
    copies: "Callable[[Any], int]" = lambda options: 1


def method_named(name: str, at: str) -> Method:
    """Look a method up; `at` says where the name was found.

    Raises:
        UsageError: no such method.
    """
    if name not in METHODS:
        raise UsageError(f"{at}.method: unknown method {name!r}; {nearest(name, METHODS)}")
    method: Method = lookup(METHODS, name, "method")
    return method


def parse_options(method: Method, options: dict[str, Any], at: str) -> msgspec.Struct:
    """Check a stage's options against the method's record.

    Raises:
        UsageError: an unknown option or a wrong value.
    """
    return checked_options(method.options, options, f"{at}.options")


def stage_options(method: Method, stage: "StageSpec", at: str) -> msgspec.Struct:
    """Check a stage's options; where it names a sampler, that one says how many views of a sample a step has.

    Raises:
        UsageError: an unknown option or a wrong value, of the method or of the sampler, views said twice, or
            what only live teachers can serve, of a stage with `labels`.
    """
    options, sampler = parse_options(method, stage.options, at), sampler_options(stage, at)
    if method.check_stored is not None and stage.labels is not None:
        method.check_stored(options, stage.labels, at)
    if sampler is None or not hasattr(options, VIEWS):
        return options
    if VIEWS in stage.options:
        raise UsageError(
            f"{at}.options.{VIEWS}: has no effect where the stage names a sampler; remove it, or give it to "
            f"sampler crop-major: {{name: crop-major, options: {{{VIEWS}: {stage.options[VIEWS]}}}}}"
        )
    return msgspec.structs.replace(options, **{VIEWS: sampler.views})


def classes_asked_of_teachers(stage: "StageSpec", at: str) -> TeacherClasses:
    """Which of the data's classes a stage's teachers have to know: what its mixer says, else its method.

    Raises:
        UsageError: no such method or mixer.
    """
    mixed = stage_mixer(stage, at).teacher_classes
    return method_named(stage.method, at).teacher_classes if mixed == "all" else mixed


def teaching(stage: "StageSpec", teachers: "Sequence[ModelSpec | str]") -> "tuple[ModelSpec | str, ...]":
    """Those of a stage's teachers that make targets while it trains, whom its student is compared with."""
    at = f"stage {stage.id}"
    method = method_named(stage.method, at)
    if method.taught_by is None:
        return tuple(teachers)
    return tuple(teachers[place] for place in method.taught_by(stage_options(method, stage, at)))


def views_of(stage: "StageSpec", options: msgspec.Struct, at: str) -> int:
    """Views of a sample in a step: what the stage's sampler says, else its method's options."""
    sampler = sampler_options(stage, at)
    return int(getattr(options, VIEWS, 1)) if sampler is None else sampler.views


def require_mixable(stage: "StageSpec", options: msgspec.Struct, at: str) -> None:
    """Refuse to mix data sets in a stage whose order of samples leaves no room for them.

    Raises:
        UsageError: its sampler, or its method's, whose options these are, leaves no room for other data.
    """
    own = CROP_MAJOR if stage.labels is not None and hasattr(options, VIEWS) else SHUFFLE
    order = own if stage.chosen_sampler is None else stage.chosen_sampler.name
    sampler = sampler_options(stage, at)
    if order != SHUFFLE and not (sampler is not None and sampler.mixes):
        raise UsageError(
            f"{at}: visits samples in an order of its own ({order}), so data.also cannot be mixed in; remove "
            f"data.also, or use sampler {SHUFFLE}"
        )
