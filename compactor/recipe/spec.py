"""The recipe: typed records of one YAML file; how it is found, overridden and checked is `recipe.load`.

What a recipe leads to is decided in `compactor.run`.
"""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from compactor.data.spec import AugmentSpec, DataSpec, MaskingSpec, NearDuplicateSettings, Quantization
from compactor.records import Count, NonNegative, Positive, TeacherRuntimeName, Training
from compactor_runtimes.bundle.manifest import ExportSpec
from compactor_runtimes.measure.wish import Wish

Identifier = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
STAGE = "stage:"
MOST_OF_A_CLASS = 4000  # images of a pool: the 4 million of SSLD's 1000 classes


class RecipePart(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all parts of a recipe: frozen, keyword-only, unknown keys are errors."""


class ModelSpec(RecipePart, frozen=True):
    """A model by name.

    `cifar:resnet20`, `timm:NAME`, `hf:ID_OR_PATH`, `package:IMPORT/RESOURCE` (a model folder inside an
    installed package) or `module:package.module:attr`. `options` are the family's own.

    `weights` is a safetensors file, `pretrained` for the source's own weights, or absent for a random start.
    `mean` and `std` replace the model's own input normalisation (per channel, for pixels in [0, 1]).

    `bundle:PATH` is a bundle whose ONNX artifact teaches; it has its weights, size and normalisation.
    `image_size` is the side in pixels that images are resized to (bilinear, antialias) before this teacher;
    absent = as they come.

    Its classes are matched with the data's by name: `aliases` maps the model's names to the data's where
    spelling cannot, and `classes: subset` lets a teacher of more classes teach those that it shares.
    `subclasses` widens a student's last layer to that many outputs for each class, whose logit is the
    logarithm of their summed exponentials, also in what is exported (`method: lelp` trains the parts apart).
    `trust_teacher` keeps a teacher that no better than chance answers, or classes in another order, would
    stop; `trust_tokenizer` one that was trained with another tokenizer than the data's.

    `runtime` says what computes a teacher's answers: torch, or the graph that it is exported to; `auto` takes
    the fastest here. One whose answers are further from torch's in fp32 than `max_kl` (mean KL divergence,
    nat), or whose top class is the same less often than `min_agreement`, is refused.
    """

    model: str
    weights: str | None = None
    options: dict[str, Any] = {}
    mean: list[float] | None = None
    std: list[Positive] | None = None
    image_size: Count | None = None
    aliases: dict[str, str] = {}
    classes: Literal["subset"] | None = None
    subclasses: Annotated[int, Meta(ge=2, le=1000)] | None = None
    trust_teacher: bool = False
    trust_tokenizer: bool = False
    runtime: TeacherRuntimeName = "torch"
    max_kl: NonNegative = 0.003
    min_agreement: Annotated[float, Meta(ge=0, le=1)] = 0.995

    @property
    def is_moved(self) -> bool:
        """Whether something else than torch, as it was loaded, computes its answers."""
        return self.runtime != "torch"

    @property
    def family(self) -> str:
        """`hf` of `hf:NAME`."""
        return self.model.partition(":")[0]


def moved(teachers: "Iterable[ModelSpec | str]") -> dict[int, ModelSpec]:
    """Those of some teachers' entries that name another runtime than torch, by their place."""
    return {number: one for number, one in enumerate(teachers) if isinstance(one, ModelSpec) and one.is_moved}


class LabelsSpec(RecipePart, frozen=True):
    """A label store in the place of live teachers: what they said of recorded crops, kept on disk.

    `crops` are recorded of each training sample, cut as the stage's `augment` says. `quantization` and `k`
    say how labels are kept and read: `full`, `hard`, `smoothing`, `marginal-smoothing` (the k largest classes
    keep their probabilities, the others share the rest) or `marginal-renorm`. `boxes`: int16 pixels or
    float32 fractions. `evaluation` labels the select and report splits too, so that agreement can be told
    later without the teachers. `seed` is the crops' own, so that runs with different seeds share a store.

    `store` is the folder of a finished store to use instead of making one: only `quantization` and `k` then
    have an effect. With `teachers: []` its teachers are taken as they are; named ones must be the same.

    `cross_fit: K` has the stage's one teacher, an earlier stage, trained K times, each time without one of K
    folds of the training samples; each sample is then labelled by the teacher that has not seen it, and what
    no teacher is trained on by the mean of all K.
    """

    crops: Annotated[int, Meta(ge=1, le=100_000)] = 1
    quantization: Quantization = "marginal-smoothing"
    k: Count = 5
    probabilities: Literal["float16", "float32"] = "float16"
    boxes: Literal["pixels", "relative"] = "pixels"
    evaluation: bool = True
    seed: Annotated[int, Meta(ge=0)] = 0
    store: str | None = None
    cross_fit: Annotated[int, Meta(ge=2, le=1000)] | UnsetType = UNSET  # as StageSpec.sampler

    @property
    def folds(self) -> int | None:
        """Folds that teachers are trained without; None where each has seen every sample."""
        return None if isinstance(self.cross_fit, UnsetType) else self.cross_fit


class SamplerSpec(RecipePart, frozen=True):
    """Which samples an epoch visits, and in which order: a name of `compactor.samplers`, and its options."""

    name: str
    options: dict[str, Any] = {}


class MixerSpec(RecipePart, frozen=True):
    """How the answers of several teachers become one: a name of `compactor.mixers`, and its options."""

    name: str
    options: dict[str, Any] = {}


class StageSpec(Training, RecipePart, frozen=True):
    """One training stage. `student`, `teachers`, `data` and `task` default to the recipe's own.

    How it learns (epochs or steps, optimiser, schedule, precision) is `compactor.records.Training`. Without a
    `sampler` (a name, or name and options) the method's own is taken, without a `mixer` the teachers' mean.
    """

    id: Identifier
    method: str
    task: str | None = None
    options: dict[str, Any] = {}
    student: ModelSpec | None = None
    teachers: list[ModelSpec | str] | None = None
    data: DataSpec | None = None
    labels: LabelsSpec | None = None
    init: str | None = None
    augment: AugmentSpec = AugmentSpec()
    masking: MaskingSpec = MaskingSpec()
    sampler: SamplerSpec | str | UnsetType = UNSET  # absent from cache keys where it is absent here
    mixer: MixerSpec | str | UnsetType = UNSET  # as `sampler`
    seed: int | None = None

    @property
    def chosen_sampler(self) -> SamplerSpec | None:
        """The sampler that the recipe names; None leaves the choice to the method."""
        if isinstance(self.sampler, str):
            return SamplerSpec(name=self.sampler)
        return None if isinstance(self.sampler, UnsetType) else self.sampler

    @property
    def chosen_mixer(self) -> MixerSpec | None:
        """The mixer that the recipe names; None takes the default."""
        if isinstance(self.mixer, str):
            return MixerSpec(name=self.mixer)
        return None if isinstance(self.mixer, UnsetType) else self.mixer


class VsStudentGate(RecipePart, frozen=True):
    """How far an artifact may fall behind the torch student, on select samples."""

    max_drop_points: Positive = 0.5
    min_agreement: dict[Literal["fp32", "fp16", "int8"], Annotated[float, Meta(ge=0, le=1)]] = msgspec.field(
        default_factory=lambda: {"fp32": 0.9999, "fp16": 0.995, "int8": 0.98}
    )


class VsTeacherGate(RecipePart, frozen=True):
    """How far the student may fall behind its teachers, on select samples; absent means no gate."""

    max_drop_points: Positive | None = None


class GatesSpec(RecipePart, frozen=True):
    """What the results must reach; a failed gate is an exit code."""

    artifact_vs_student: VsStudentGate = VsStudentGate()
    student_vs_teacher: VsTeacherGate = VsTeacherGate()


class RejectSpec(RecipePart, frozen=True):
    """Which answers are rejected as not sure enough; give `out_of_scope` or `keep`.

    A threshold of confidence is chosen on select samples with the student's answers, and ships for all
    artifacts. `out_of_scope` is the class of the data that means "none of these": the threshold makes the
    mean of in-scope accuracy and out-of-scope recall largest, while in-scope accuracy loses
    `max_drop_points` at most; an answer of that class is rejected too. `keep` is the share of answers that
    stays, the surest ones.
    """

    out_of_scope: str | None = None
    max_drop_points: NonNegative | None = None  # absent = 1, where there is a class out of scope
    keep: Annotated[float, Meta(gt=0, lt=1)] | None = None


class MeasureSpec(RecipePart, frozen=True):
    """Which load to measure under, and how long.

    `teacher: bundle` also exports the teachers, once, and measures them in the runtime of the artifacts: the
    headline then compares two models in one runtime. `torch` measures them in torch alone.
    """

    scenarios: list[Literal["single-stream", "offline"]] = msgspec.field(
        default_factory=lambda: ["single-stream", "offline"]
    )
    profile: Literal["smoke", "quick", "standard", "long"] = "quick"
    threads: Count | None = None
    teacher: Literal["torch", "bundle"] = "torch"


class PoolSourceSpec(RecipePart, frozen=True):
    """Where unlabelled images come from.

    `dataset` is a table, a folder, a data set of the hub, or the name of a data set (all rows of its train
    source); labels are not read. `image_column` is that of tables; absent = the recipe's.
    """

    dataset: Annotated[str, Meta(min_length=1)]
    image_column: str | None = None


class PoolDuplicatesSpec(RecipePart, frozen=True):
    """Which near-duplicates are removed beside those of select and report images, which always are.

    `against_train`: copies of train images too. `within`: of several copies in the pool one stays.
    `thresholds` say what a copy is.
    """

    against_train: bool = False
    within: bool = False
    thresholds: NearDuplicateSettings = NearDuplicateSettings()


class PoolTakeSpec(RecipePart, frozen=True):
    """Which of the remaining images are taken, by what the teachers said of them.

    `by: score`: of each class the `top` images with its highest probability, an image being a candidate of
    its `classes_per_image` likeliest classes; classes with fewer images give what they have. `by:
    confidence`: every image whose largest probability is at least `min_confidence`, of each class the `top`
    surest where that is set. `by: all`: every image.
    """

    by: Literal["score", "confidence", "all"] = "score"
    top: Count | None = None  # absent = MOST_OF_A_CLASS by score, no limit by confidence
    classes_per_image: Count = 1
    min_confidence: Annotated[float, Meta(ge=0, le=1)] | None = None


class PoolSpec(RecipePart, frozen=True):
    """The pool of unlabelled images that `compactor pool build` makes, for `data.also` to name.

    `teachers` score the images; absent = the recipe's, else those of its last stage that has any. `k` largest
    classes of each image are kept in the label store. `batch_size` and `precision` are the teachers'.
    """

    sources: Annotated[list[PoolSourceSpec], Meta(min_length=1)]
    duplicates: PoolDuplicatesSpec = PoolDuplicatesSpec()
    take: PoolTakeSpec = PoolTakeSpec()
    teachers: list[ModelSpec | str] | None = None
    k: Count = 5
    batch_size: Count = 256
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"


class Recipe(RecipePart, frozen=True):
    """One job from teachers to a bundle; without stages, the student is shipped with the weights it has."""

    name: Identifier
    task: str
    data: DataSpec
    stages: list[StageSpec]
    teachers: list[ModelSpec | str] = []
    student: ModelSpec | None = None
    seed: int = 0
    export: list[ExportSpec] = msgspec.field(default_factory=lambda: [ExportSpec(required=True)])
    reject: RejectSpec | None = None
    gates: GatesSpec = GatesSpec()
    measure: MeasureSpec = MeasureSpec()
    choose: Wish = Wish()
    licences: dict[str, str] = {}
    pool: PoolSpec | None = None

    @property
    def pool_teachers(self) -> list[ModelSpec | str]:
        """Who scores the images of the pool."""
        if self.pool is not None and self.pool.teachers is not None:
            return self.pool.teachers
        if self.teachers:
            return self.teachers
        return next((stage.teachers for stage in reversed(self.stages) if stage.teachers), [])

    def stage_student(self, stage: StageSpec) -> ModelSpec:
        """The student that a stage trains: its own, else the recipe's."""
        student = stage.student or self.student
        assert student is not None  # checked when the recipe was loaded
        return student

    def stage_teachers(self, stage: StageSpec) -> list[ModelSpec | str]:
        """The teachers that a stage learns from: its own, else the recipe's."""
        return self.teachers if stage.teachers is None else stage.teachers

    def stage_data(self, stage: StageSpec) -> DataSpec:
        """The data that a stage trains on: its own, else the recipe's."""
        return stage.data or self.data

    def stage_task(self, stage: StageSpec) -> str:
        """The task that a stage trains for: its own, else the recipe's."""
        return stage.task or self.task
