"""What teachers, student and artifacts cost on this machine."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from compactor.cache.digest import file_digest
from compactor.cache.folder import WEIGHTS
from compactor.data.splits import Dataset
from compactor.models.student import Student, parameter_count
from compactor.progress import Reporter
from compactor.recipe.spec import Recipe
from compactor.tasks import Task
from compactor.torch_runtime import write_ensemble
from compactor_exporters import ExportSource
from compactor_runtimes.backends import OPENERS
from compactor_runtimes.bundle.manifest import Artifact
from compactor_runtimes.files import writing
from compactor_runtimes.measure.harness import measure
from compactor_runtimes.measure.measurement import Candidate, Measurement, Settings
from compactor_runtimes.report import artifact_bytes, artifact_name

MEASURED_SAMPLES = 64
TORCH = "compactor.torch_runtime:open_runtime"


class Measured(Protocol):
    """What measuring reads of a run; `run` is the folder of its files, `recipe.measure` says the load."""

    run: Path
    recipe: Recipe
    task: Task
    data: Dataset
    student: Student
    student_folder: Path
    teachers: list[Student]
    teacher_folders: list[Path]
    reporter: Reporter


def measure_all(
    run: Measured, source: ExportSource, artifacts: list[Artifact], teachers: list[str]
) -> list[Measurement]:
    """Measure the teachers together in torch, the student in torch, and every artifact."""
    candidates = [
        student := Candidate(
            name=torch_name(["student"]),
            runtime=TORCH,
            source=str(run.student_folder),
            digest=file_digest(run.student_folder / WEIGHTS),
            size_bytes=weights_bytes(run.student, run.student_folder),
            parameters=parameter_count(run.student),
            pre=source.pre,
            post=source.post,
            labels=source.labels,
            assets=str(run.run),
        )
    ]
    if teachers:
        ensemble = run.run / "teachers.json"
        write_ensemble(ensemble, run.teacher_folders)
        together = msgspec.structs.replace(
            student,
            name=torch_name(teachers),
            source=str(ensemble),
            digest="+".join(
                file_digest(path)[:16]
                for model, folder in zip(run.teachers, run.teacher_folders, strict=True)
                for path in weights_files(model, folder)
            ),
            size_bytes=sum(map(weights_bytes, run.teachers, run.teacher_folders)),
            parameters=known_parameters(run.teachers),
        )
        candidates.insert(0, together)
    candidates += [
        msgspec.structs.replace(
            student,
            name=artifact_name(artifact),
            runtime=OPENERS[artifact.spec.format],
            source=str(run.run / "artifacts" / artifact.files[0].path),
            digest=artifact.files[0].sha256,
            size_bytes=artifact_bytes(artifact),
            parameters=None,
            precision=artifact.spec.precision,
        )
        for artifact in artifacts
    ]
    lay_out_assets(source, run.run)
    samples = run.task.raws(run.data.select, MEASURED_SAMPLES, run.run / "measured")
    spec = run.recipe.measure
    settings = Settings(
        scenarios=spec.scenarios,
        profile=spec.profile,
        threads=spec.threads,
        cold_starts=1 if spec.profile == "smoke" else 3,
    )
    with run.reporter.bar("measure", 1) as bar:
        return measure(
            candidates, samples, settings, progress=lambda what, done, total: bar.at(done, what, total)
        )


def lay_out_assets(source: ExportSource, folder: Path) -> None:
    """Copy the files that `pre` names to where a bundle has them, so that `folder` serves as `assets`."""
    for name, path in source.assets.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with writing(folder / name):
            shutil.copyfile(path, folder / name)


def torch_name(names: list[str]) -> str:
    """A torch subject's name in tables; several teachers are one subject, an exported one says so itself."""
    name = names[0] if len(names) == 1 else "teachers"
    return name if name.startswith("bundle:") else f"{name} (torch)"


def weights_files(model: Student, folder: Path) -> list[Path]:
    """Files that hold a model's weights: its folder's, or those of an exported teacher's artifact."""
    return getattr(model.backbone, "files", None) or [folder / WEIGHTS]


def weights_bytes(model: Student, folder: Path) -> int:
    """Size of a model's weights on disk."""
    return sum(path.stat().st_size for path in weights_files(model, folder))


def known_parameters(models: Sequence[Student]) -> int | None:
    """Parameters of all models together; None where one is exported, whose graph does not tell them apart."""
    counts = [parameter_count(model) for model in models]
    return sum(counts) if all(counts) else None
