"""What samplers read of earlier stages: what their students say of this stage's samples, their records."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from compactor.cache.folder import RECORDS
from compactor.data.splits import Dataset
from compactor.evaluation import split_labels, student_answers, teacher_answers
from compactor.recipe.spec import STAGE
from compactor.records import IGNORE
from compactor.tasks import Task
from compactor.teachers import Teachers, open_teacher
from compactor.trainer.processes import is_main_process
from compactor_runtimes.errors import IntegrityError
from compactor_runtimes.files import written_whole
from compactor_runtimes.stats.softmax import softmax

Found = TypeVar("Found")


@dataclass(frozen=True)
class EarlierStages:
    """See compactor.samplers.earlier.Earlier; `done` are the model folders of finished stages by id."""

    task: Task
    data: Dataset
    base: Path
    done: Mapping[str, Path]

    def probabilities(self, reference: str) -> NDArray[np.float64]:
        """Ask the stage's student about whole, unflipped training samples, in eval mode."""

        def ask() -> NDArray[np.float64]:
            import torch

            model = open_teacher(reference, self.data.info, self.base, self.done)
            model.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
            found = student_answers(model, self.task.batches(self.data.train))[self.task.head.name]
            return softmax(found, "float64")

        return _from_main(ask)

    def records(self, reference: str) -> dict[str, NDArray[Any]]:
        """Read what the stage kept.

        Raises:
            IntegrityError: it kept nothing.
        """
        from safetensors.numpy import load_file

        path = self.done[reference.removeprefix(STAGE)].parent / RECORDS
        if not path.is_file():
            raise IntegrityError(f"{path}: is missing; delete the folder and run again")
        found: dict[str, NDArray[Any]] = load_file(path)
        return found

    def teachers_accuracy(self, teachers: Teachers) -> float | None:
        """Ask the teachers about the select samples that have a label."""
        labels = split_labels(self.task, self.data.select)
        known = labels != IGNORE
        if not known.any():
            return None

        def ask() -> float:
            answers = teacher_answers(teachers, self.task.batches(self.data.select))[self.task.head.name]
            return float((answers.argmax(1) == labels)[known].mean())

        return _from_main(ask)


def write_records(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write what a stage keeps for later ones; no file where that is nothing."""
    from safetensors.numpy import save_file

    if arrays:
        with written_whole(path) as partial:
            save_file(dict(arrays), partial)


def _from_main(ask: Callable[[], Found]) -> Found:
    """Let the main process find something out for all, so that no rounding tells them apart."""
    from accelerate.utils import broadcast_object_list

    found: list[Any] = [ask() if is_main_process() else None]
    return broadcast_object_list(found)[0]  # type: ignore[no-any-return]
