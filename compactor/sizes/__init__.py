"""Measure candidate students with random weights, so that one is chosen by its cost before any training.

Parameters, FLOPs, ONNX size, latency and memory depend on the architecture alone; nothing here says anything
about accuracy. `ladder.py` says which models, `workshop.py` counts and exports one of them.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from compactor.models import TEACH_ONLY
from compactor.progress import Reporter
from compactor.recipe.load import SMOKE_ROWS, LoadedRecipe
from compactor.recipe.spec import STAGE, ModelSpec
from compactor.run.data import DataSets
from compactor.sizes.ladder import default_ladder, display_name, full_depth
from compactor.sizes.result import SizeRow, Sizes
from compactor_runtimes.environment import describe
from compactor_runtimes.errors import NumericGateError, UsageError, needs_extra
from compactor_runtimes.measure.harness import measure
from compactor_runtimes.measure.measurement import Candidate, Measurement, ProfileName, Settings
from compactor_runtimes.measure.validity import MAX_DRIFT, sample_reasons

if TYPE_CHECKING:
    from compactor.sizes.workshop import Workshop

MEASURED_SAMPLES = 64
GROUP = 4  # models that are alive at the same time, beside the student


def measure_sizes(
    loaded: LoadedRecipe,
    named: Sequence[ModelSpec],
    *,
    profile: ProfileName,
    command: str,
    reporter: Reporter,
    save: Callable[[Sizes], None],
) -> Sizes:
    """Count and measure the recipe's student, its teachers and other candidates, all as ONNX fp32.

    The models take turns in groups; the student is in every group, so that a machine that changed between
    two groups shows.

    Args:
        loaded: the recipe; its data set gives shapes and samples.
        named: the other candidates; none = siblings of the student.
        profile: how long to measure.
        command: the command line, kept with the result.
        reporter: where progress goes.
        save: called with the rows so far after every group, so that nothing measured is lost.

    Returns:
        The rows; after Ctrl-C those of the groups that were finished, with `finished` False.

    Raises:
        UsageError: a model that cannot be built, or does not take the recipe's data.
        UnfitEnvironmentError: a package is missing, or a measuring process died.
    """
    with needs_extra("train"):
        from compactor.sizes.workshop import Workshop, check_tools

    check_tools()
    recipe = loaded.recipe
    spec = recipe.stage_data(recipe.stages[-1]) if recipe.stages else recipe.data
    data = DataSets(replace(loaded, at_most=SMOKE_ROWS), reporter).open(spec)
    student, teachers = student_and_teachers(loaded)
    exported_ones = [one.model for one in teachers if one.family in TEACH_ONLY]
    if exported_ones:
        reporter.note(
            f"teacher {', '.join(exported_ones)}: exported models have no size to choose, so no row is "
            "compared with the teachers"
        )
        teachers = []
    wanted = [student, *teachers, *named]
    ladder = [] if named else default_ladder(student, lambda: full_depth(student, data.info, loaded.base))
    settings = Settings(
        scenarios=["single-stream"], profile=profile, threads=recipe.measure.threads, cold_starts=0
    )
    with tempfile.TemporaryDirectory(prefix="compactor-sizes-") as folder:
        shop = Workshop(loaded, data, Path(folder))
        survey = _Survey(shop, [*wanted, *ladder], reporter)
        result = Sizes(
            recipe=recipe.name,
            command=command,
            profile=profile,
            threads=settings.threads,
            environment=describe(),
            flops_input=shop.feed_shapes,
        )
        try:
            survey.count(student, teachers, optional=[one for one in ladder if one not in wanted])
            samples = shop.samples(MEASURED_SAMPLES)
            for group in groups(survey.rows):
                survey.measure(survey.exported(group), samples, settings)
                result = replace(result, rows=survey.result())
                save(result)
        except KeyboardInterrupt:
            return replace(result, rows=survey.result())
    return replace(result, finished=True)


def student_and_teachers(loaded: LoadedRecipe) -> tuple[ModelSpec, list[ModelSpec]]:
    """The models of the recipe's last stage, without weights.

    Raises:
        UsageError: the recipe names no student.
    """
    recipe = loaded.recipe
    last = recipe.stages[-1] if recipe.stages else None
    student = recipe.stage_student(last) if last else recipe.student
    if student is None:
        raise UsageError("recipe student: there is none to compare candidates with; name one")
    own = {stage.id: recipe.stage_student(stage) for stage in recipe.stages}
    references = recipe.stage_teachers(last) if last else recipe.teachers
    teachers = [own[one.removeprefix(STAGE)] if isinstance(one, str) else one for one in references]
    return replace(student, weights=None), [replace(one, weights=None) for one in teachers]


def groups(rows: Sequence[SizeRow]) -> list[list[SizeRow]]:
    """The first row with the next few, the first row with the few after them, and so on."""
    first, others = rows[0], rows[1:]
    return [[first, *others[at : at + GROUP]] for at in range(0, max(len(others), 1), GROUP)]


def joined(parts: Sequence[Measurement]) -> Measurement:
    """One measurement of several of the same subject, scope and scenario; their blocks are numbered on."""
    samples_ns: list[int] = []
    blocks: list[int] = []
    for part in parts:
        first = max(blocks, default=-1) + 1
        samples_ns += part.samples_ns
        blocks += [first + block for block in part.blocks]
    found = [reason for part in parts for reason in part.reasons]
    if len(parts) > 1:
        found += sample_reasons(parts[0].scope, samples_ns, blocks)
    reasons = list(dict.fromkeys(found))
    session = "" if len(parts) > 1 else parts[0].session  # blocks of several groups are no pairs
    return replace(
        parts[0],
        samples_ns=samples_ns,
        blocks=blocks,
        session=session,
        cpu_ns=None,
        energy_j=None,
        reasons=reasons,
        valid=not reasons,
    )


def drift_reason(parts: Sequence[Measurement]) -> str:
    """Why groups cannot be compared, by the student's medians in each; empty if they can."""
    medians = [part.median_ns for part in parts]
    drift = max(medians) / min(medians) - 1
    limit = MAX_DRIFT["compute"]
    if drift <= limit:
        return ""
    return f"the recipe's student differed by {drift:.0%} from group to group (limit {limit:.0%})"


class _Survey:
    """The rows, exported models and measurements so far."""

    def __init__(self, shop: "Workshop", models: Sequence[ModelSpec], reporter: Reporter) -> None:
        """Start with nothing; `models` has the student first, and of two with one name the first counts."""
        self.shop, self.reporter = shop, reporter
        self.models: dict[str, ModelSpec] = {}
        for model in models:
            self.models.setdefault(display_name(model), model)
        self.rows: list[SizeRow] = []
        self.candidates: dict[str, Candidate] = {}
        self.problems: dict[str, str] = {}
        self.found: dict[tuple[str, str], list[Measurement]] = {}

    def count(
        self, student: ModelSpec, teachers: Sequence[ModelSpec], *, optional: Sequence[ModelSpec]
    ) -> None:
        """Build every model once; an optional one that does not fit the data is left out.

        Raises:
            UsageError: another one does not fit.
        """
        with self.reporter.bar("count", len(self.models)) as bar:
            for number, (name, model) in enumerate(self.models.items()):
                bar.at(number, name)
                try:
                    counts = self.shop.count(model)
                except UsageError as error:
                    if model not in optional:
                        raise
                    self.reporter.note(f"{name}: left out: {error}")
                    continue
                self.rows.append(
                    SizeRow(
                        name=name,
                        model=model.model,
                        options=model.options,
                        is_student=model == student,
                        is_teacher=model in teachers,
                        parameters=counts.parameters,
                        flops=counts.flops,
                    )
                )

    def exported(self, group: Sequence[SizeRow]) -> list[Candidate]:
        """Export the group's models; one that cannot be exported gets its reason and is not measured."""
        todo = [row for row in group if row.name not in self.candidates and row.name not in self.problems]
        with self.reporter.bar("export", len(todo)) as bar:
            for number, row in enumerate(todo):
                bar.at(number, row.name)
                try:
                    self.candidates[row.name] = self.shop.export(self.models[row.name], row.name)
                except (UsageError, NumericGateError) as error:
                    self.problems[row.name] = str(error)
        return [self.candidates[row.name] for row in group if row.name in self.candidates]

    def measure(self, candidates: Sequence[Candidate], samples: list[Path], settings: Settings) -> None:
        """Measure models that take turns."""
        if not candidates:
            return
        with self.reporter.bar("measure", 1) as bar:
            found = measure(
                candidates,
                samples,
                settings,
                progress=lambda what, done, total: bar.at(done, what, total),
            )
        for one in found.measurements:
            self.found.setdefault((one.subject, one.scope), []).append(one)

    def result(self) -> list[SizeRow]:
        """All rows, fastest first."""
        anchor = self.found.get((self.rows[0].name, "compute")) if self.rows else None
        moved = drift_reason(anchor) if anchor else ""
        return sorted((self._filled(row, moved) for row in self.rows), key=lambda row: row.median_ns)

    def _filled(self, row: SizeRow, moved: str) -> SizeRow:
        candidate = self.candidates.get(row.name)
        scopes: dict[str, Measurement | None] = {}
        for scope in ("compute", "end-to-end"):
            parts = self.found.get((row.name, scope))
            one = joined(parts) if parts else None
            if one and moved:
                one = replace(one, valid=False, reasons=[*one.reasons, moved])
            scopes[scope] = one
        return replace(
            row,
            onnx_bytes=candidate.size_bytes if candidate else None,
            compute=scopes["compute"],
            end_to_end=scopes["end-to-end"],
            problem=self.problems.get(row.name, ""),
        )
