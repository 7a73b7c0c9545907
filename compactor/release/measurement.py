"""What teachers, student and artifacts cost on this machine."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec

from compactor.cache.digest import file_digest
from compactor.cache.folder import WEIGHTS
from compactor.models import TEACHES_ON
from compactor.models.bundled import OnnxBackbone
from compactor.models.student import Student, parameter_count
from compactor.release.job import ReleaseJob
from compactor.torch_runtime import write_ensemble
from compactor_exporters import ExportSource
from compactor_runtimes.backends import choose_runtime, file_of, options_of
from compactor_runtimes.bundle.manifest import Artifact
from compactor_runtimes.files import writing
from compactor_runtimes.measure.harness import measure
from compactor_runtimes.measure.measurement import Candidate, Measurement, Settings
from compactor_runtimes.report import artifact_bytes, artifact_name

MEASURED_SAMPLES = 64
EXPORTED = "bundle:"
TORCH = "compactor.torch_runtime:open_runtime"


def measure_all(job: ReleaseJob, source: ExportSource, artifacts: list[Artifact]) -> list[Measurement]:
    """Measure the teachers together, the student in torch, and every artifact.

    Teachers are measured in torch, but a single one that is exported by itself, as its bundle serves it: that
    torch calls it in between would be no cost of the teacher.
    """
    candidates = [
        student := Candidate(
            name=torch_name(["student"]),
            runtime=TORCH,
            source=str(job.student_folder),
            digest=file_digest(job.student_folder / WEIGHTS),
            size_bytes=weights_bytes(job.student, job.student_folder),
            parameters=parameter_count(job.student),
            pre=source.pre,
            post=source.post,
            labels=source.labels,
            assets=str(job.folder),
        )
    ]
    if job.teachers:
        ensemble = job.folder / "teachers.json"
        write_ensemble(ensemble, [teacher.folder for teacher in job.teachers])
        together = msgspec.structs.replace(
            student,
            name=torch_name([teacher.name for teacher in job.teachers]),
            source=str(ensemble),
            digest="+".join(
                file_digest(path)[:16]
                for teacher in job.teachers
                for path in weights_files(teacher.model, teacher.folder)
            ),
            size_bytes=sum(weights_bytes(teacher.model, teacher.folder) for teacher in job.teachers),
            parameters=known_parameters(job.models),
        )
        candidates.insert(0, _served(together, job.models) or together)
    candidates += [_candidate(job, student, artifact) for artifact in artifacts]
    lay_out_assets(source, job.folder)
    samples = job.task.raws(job.data.select, MEASURED_SAMPLES, job.folder / "measured")
    settings = Settings(
        scenarios=list(job.measure.scenarios),
        profile=job.measure.profile,
        threads=job.measure.threads,
    )
    with job.reporter.bar("measure", 1) as bar:
        return measure(
            candidates, samples, settings, progress=lambda what, done, total: bar.at(done, what, total)
        ).measurements


def _served(together: Candidate, models: Sequence[Student]) -> Candidate | None:
    """A single exported teacher on the runtime and with the raw inputs of its bundle; None for all others."""
    backbone = models[0].backbone
    if len(models) > 1 or not isinstance(backbone, OnnxBackbone):
        return None
    manifest = backbone.bundle.manifest
    return msgspec.structs.replace(
        together,
        runtime=TEACHES_ON,
        source=str(backbone.files[0]),
        pre=manifest.pre,
        post=manifest.post,
        labels=manifest.labels,
        assets=str(backbone.bundle.path),
        precision=backbone.artifact.spec.precision,
    )


def _candidate(job: ReleaseJob, like: Candidate, artifact: Artifact) -> Candidate:
    """An artifact, fed and decoded as the student is, on the runtime and with the file that load it."""
    runtime = choose_runtime(artifact)
    entry = file_of(artifact, runtime, trust=True)  # made here
    return msgspec.structs.replace(
        like,
        name=artifact_name(artifact),
        runtime=runtime,
        options=options_of(runtime, trust=True),
        source=str(job.artifact_folder / entry.path),
        digest=entry.sha256,
        size_bytes=artifact_bytes(artifact),
        parameters=None,
        precision=artifact.spec.precision,
    )


def lay_out_assets(source: ExportSource, folder: Path) -> None:
    """Copy the files that `pre` names to where a bundle has them, so that `folder` serves as `assets`."""
    for name, path in source.assets.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with writing(folder / name):
            shutil.copyfile(path, folder / name)


def torch_name(names: list[str]) -> str:
    """A subject's name in tables before export; several are one subject, an exported one says so itself."""
    exported = [name.startswith(EXPORTED) for name in names]
    if len(names) == 1:
        return names[0] if exported[0] else f"{names[0]} (torch)"
    return f"teachers ({'onnx' if all(exported) else 'torch and onnx' if any(exported) else 'torch'})"


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
