"""What training would cost, counted before it starts: parameters, and FLOPs of a sample and in all."""

from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec import Struct

from compactor.data.splits import Split
from compactor.methods import method_named, stage_options, teaching
from compactor.models import TEACH_ONLY
from compactor.models.parameter_parts import PARTS
from compactor.recipe.spec import STAGE, ModelSpec, StageSpec
from compactor.run.planned import Plan, PlannedStage
from compactor.samplers import sampler_options
from compactor.sizes.workshop import Counts, Workshop

BACKWARD = 2  # a backward pass does two products for each of the forward pass


class StageCost(Struct, frozen=True, kw_only=True):
    """One stage; FLOPs count a multiply-add as 2, `training_flops` is all of a sample's in one step.

    A step is a forward and backward pass of the student on each copy of a sample (its method's `copies`), and
    of a network that learns beside it (`networks`), and a forward pass of each live teacher. Teachers that
    label a store see each recorded crop once, which is `label_flops` in all. Nothing counts a `bundle:`,
    which is no torch module: figures that it enters are None. `..._parts` are the parameters of text encoders
    by part (compactor.models.parameter_parts), None where a model is something else.
    """

    stage: str
    student: str
    student_parameters: int
    student_parts: dict[str, int] | None
    student_flops: int
    teachers: list[str]
    teacher_parameters: int | None
    teacher_parts: dict[str, int] | None
    teacher_flops: int | None
    samples: int
    training_flops: int | None
    label_flops: int | None

    @property
    def total_flops(self) -> int | None:
        """All of the stage."""
        if self.training_flops is None or self.label_flops is None:
            return None
        return self.samples * self.training_flops + self.label_flops


def training_costs(plan: Plan) -> list[StageCost]:
    """Count every stage of a plan on random weights, or none for text encoders; nothing is trained.

    Raises:
        UsageError: a model cannot be built, or does not take the data.
        UnfitEnvironmentError: a stage cannot run here.
    """
    plan.require_stages()
    counted: dict[str, Counts] = {}
    with TemporaryDirectory() as scratch:
        return [
            _cost(stage, Workshop(plan.loaded, stage.data, Path(scratch)), counted) for stage in plan.stages
        ]


def _cost(stage: PlannedStage, workshop: Workshop, counted: dict[str, Counts]) -> StageCost:
    spec, data = stage.spec, stage.data
    student = workshop.count(stage.student)
    counted[stage.id] = student
    teaching_ones = teaching(spec, stage.teachers) if stage.teachers else ()
    teachers = [_teacher(one, workshop, counted) for one in teaching_ones]
    flops = None if None in teachers else sum(one.flops for one in teachers if one)
    live, at = stage.labels is None, f"stage {spec.id}"
    method = method_named(spec.method, at)
    passes = method.networks * method.copies(stage_options(method, spec, at))
    crops = 0
    if stage.labels is not None and not stage.labels.is_given:
        crops = stage.labels.records
    return StageCost(
        stage=stage.id,
        student=stage.student.model,
        student_parameters=student.parameters,
        student_parts=student.parts,
        student_flops=student.flops,
        teachers=[one if isinstance(one, str) else one.model for one in teaching_ones],
        teacher_parameters=None if None in teachers else sum(one.parameters for one in teachers if one),
        teacher_parts=_parts(teachers),
        teacher_flops=flops,
        samples=(spec.steps or 0) * spec.batch_size or _samples(spec, data.train),
        training_flops=_sum(passes * (1 + BACKWARD) * student.flops, flops if live else 0),
        label_flops=None if crops and flops is None else crops * (flops or 0),
    )


def _samples(spec: StageSpec, split: Split) -> int:
    """Samples that all epochs of a stage visit."""
    options, epochs = sampler_options(spec, f"stage {spec.id}"), spec.epochs or 0
    if options is None:  # those of the methods visit as many as there are
        return epochs * len(split)
    sampler = options.build(spec, seed=0)  # how many do not hang on it
    sampler.fit(split, None)
    return sum(sampler.samples(len(split), epoch) for epoch in sampler.passes(epochs))


def _teacher(reference: ModelSpec | str, workshop: Workshop, counted: dict[str, Counts]) -> Counts | None:
    if isinstance(reference, str):
        return counted[reference.removeprefix(STAGE)]
    return None if reference.family in TEACH_ONLY else workshop.count(reference)


def _parts(teachers: list[Counts | None]) -> dict[str, int] | None:
    """Of all teachers together; None without any, or where one has no such parts."""
    found = [one.parts for one in teachers if one is not None and one.parts is not None]
    if not found or len(found) < len(teachers):
        return None
    return {part: sum(one[part] for one in found) for part in PARTS}


def _sum(first: int, second: int | None) -> int | None:
    return None if second is None else first + second
