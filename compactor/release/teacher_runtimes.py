"""Teachers on another runtime than torch in fp32: opened, held against torch, refused where they are too far.

1. A graph is exported, verified and kept by `exported_teachers.py`, which keeps it for `measure` too.
2. Its distance from torch is measured on select rows, as they are deployed and as the stage cuts images. What
   is beyond the bounds of the teacher's entry is refused.
3. What was measured is kept for this machine (`runtime_memory.py`), so that a training that goes on measures
   nothing anew. What `auto` takes is chosen in `runtime_choice.py`, and kept there too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from compactor.data.spec import AugmentSpec
from compactor.data.splits import Dataset, Split
from compactor.models.build import save_model
from compactor.models.on_runtime import InBfloat16, OnGraph
from compactor.models.student import Student
from compactor.recipe.spec import ModelSpec
from compactor.records import TeacherRan, TeacherRuntimeName, reads_images
from compactor.release.exported_teachers import FP32, Tell, export_teachers, teachers_digest
from compactor.release.runtime_distance import Distance, answers_of, asked_rows, distance
from compactor.release.runtime_memory import Known, machine_with, remember, remembered
from compactor.tasks import Answers, Task
from compactor_exporters import can_export
from compactor_runtimes.backends import find_runtime, open_runtime
from compactor_runtimes.bundle.manifest import ExportSpec
from compactor_runtimes.errors import AccuracyGateError, UnfitEnvironmentError, UsageError
from compactor_runtimes.tables import resolve

TORCH: TeacherRuntimeName = "torch"
BF16: TeacherRuntimeName = "torch-bf16"
QUIET = (("spinning", False),)  # threads that spin between two calls would take the student's cores


@dataclass(frozen=True)
class Graph:
    """How a graph answers: its row in the table of runtimes, its precision, and what its opener takes."""

    backend: str
    precision: str = "fp32"
    options: tuple[tuple[str, Any], ...] = ()

    def artifact(self, task: str) -> ExportSpec:
        """The kind of artifact; of texts the ranges of 8 bits are found at every run."""
        if self.precision == "fp32":
            return FP32
        return ExportSpec(precision="int8", quantization="static" if reads_images(task) else "dynamic")


GRAPHS: dict[TeacherRuntimeName, Graph] = {
    "ort-fp32": Graph("ort-cpu", options=QUIET),
    "ort-int8": Graph("ort-cpu", "int8", options=QUIET),
    "openvino": Graph("openvino"),
    "openvino-bf16": Graph("openvino-bf16"),
}


def require_usable(runtime: TeacherRuntimeName, task: Task) -> None:
    """Refuse a runtime that cannot be used here, or for such a task.

    Raises:
        UsageError: the task's answers have no distribution whose distance could be told.
        MissingDependency, UnfitEnvironmentError: a package is missing, or the CPU has no such instructions.
    """
    if any(head.level == "token" or head.activation == "none" for head in task.heads):
        raise UsageError(
            f"runtime {runtime}: needs answers that are classes or labels of a sample or a word, so that "
            "their distance from torch can be told; remove it"
        )
    if (graph := GRAPHS.get(runtime)) is not None:
        resolve(find_runtime(graph.backend).probe)()
        if (reason := can_export(ExportSpec())) is not None:
            raise UnfitEnvironmentError(f"runtime {runtime}: {reason}")


@dataclass(frozen=True)
class Workplace:
    """Where teachers are moved: the data that they are held against torch on, and where graphs are kept."""

    task: Task
    data: Dataset
    name: str
    kept: Callable[[str], Path]
    scratch: Path
    device: torch.device
    augment: AugmentSpec = AugmentSpec()  # noqa: RUF009 (frozen)
    tell: Tell = lambda what: None


class Moving:
    """One teacher, in torch, and what becomes of it on other runtimes."""

    def __init__(self, model: Student, entry: ModelSpec, place: Workplace) -> None:
        """Look up what is known of it; nothing is exported yet."""
        self.model, self.entry, self.place = model, entry, place
        self._folder = place.scratch / "teacher"
        save_model(model, entry, self._folder)
        kept = place.kept(teachers_digest([self._folder], place.task, place.data.select))
        self.file = kept.with_name(f"{kept.name}.json")
        self._machine = machine_with(place.device, place.augment)
        self.memory = remembered(self.file, self._machine)

    def open(self, runtime: TeacherRuntimeName) -> Student:
        """The teacher on a runtime.

        Raises:
            UsageError, NumericGateError, UnfitEnvironmentError: as `export_teachers` and `require_usable`.
        """
        if runtime == TORCH:
            return self.model
        if runtime == BF16:
            return InBfloat16(self.model, runtime)
        require_usable(runtime, self.place.task)
        graph, place = GRAPHS[runtime], self.place
        spec = graph.artifact(self.model.info.task)
        self.model.cpu()  # as exporters trace it
        exported = export_teachers(
            [self.model],
            [self._folder],
            place.task,
            place.data.select,
            name=f"{place.name}-teachers",
            kept=place.kept,
            scratch=place.scratch / "export",
            tell=place.tell,
            spec=spec,
            data=None if spec == FP32 else place.data,
        )
        threads = torch.get_num_threads()
        opened = open_runtime(graph.backend, exported.file, threads=threads, **dict(graph.options))
        return OnGraph(self.model, runtime, opened)

    def known(self, runtime: TeacherRuntimeName, teacher: Student) -> Known:
        """How far a teacher that `open` gave is from torch; measured once on this machine."""
        if runtime not in self.memory.found:
            if runtime == TORCH:
                found = Distance(len(self._rows), 0.0, 1.0)
            else:
                self.place.tell(f"hold {runtime} against torch")
                reference = self._reference  # first, for the model is moved
                found = distance(reference, self._said(teacher), self.place.task.heads)
            self.memory.found[runtime] = Known(_provider(teacher), found)
            self.keep()
        return self.memory.found[runtime]

    def keep(self) -> None:
        """Write down what is known."""
        remember(self.file, self._machine, self.memory)

    def is_near(self, found: Distance) -> bool:
        """Whether a distance is within the bounds of the teacher's entry."""
        return found.kl <= self.entry.max_kl and found.agreement >= self.entry.min_agreement

    def ran(self, runtime: TeacherRuntimeName, teacher: Student, number: int) -> TeacherRan:
        """The record of a teacher that is near enough.

        Raises:
            AccuracyGateError: it is too far from torch.
        """
        known = self.known(runtime, teacher)
        found, entry = known.distance, self.entry
        if not self.is_near(found):
            raise AccuracyGateError(
                f"teacher {entry.model} on {runtime}: mean KL {found.kl:.3g} nat from torch in fp32 and "
                f"{100 * found.agreement:.2f}% the same top class on {found.rows:,} select rows, expected "
                f"at most {entry.max_kl:g} and at least {100 * entry.min_agreement:g}%; name another "
                "runtime, or raise max_kl or lower min_agreement on its entry"
            )
        return TeacherRan(
            number=number,
            teacher=entry.model,
            runtime=runtime,
            provider=known.provider,
            rows=found.rows,
            kl=found.kl,
            agreement=found.agreement,
        )

    @cached_property
    def _rows(self) -> Split:
        return asked_rows(self.place.data.select)

    @cached_property
    def _reference(self) -> list[Answers]:
        return self._said(self.model)

    def _said(self, teacher: Student) -> list[Answers]:
        place = self.place
        return answers_of(teacher, place.task, self._rows, place.augment, place.device)


def _provider(teacher: Student) -> str:
    version = torch.__version__.partition("+")[0]
    return str(getattr(teacher, "provider", f"torch {version} in fp32"))
