"""What teachers, student and artifacts cost on this machine, and where time and memory go."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from compactor.cache.digest import file_digest
from compactor.cache.folder import EXPORTED_TEACHERS, WEIGHTS, link_stage
from compactor.models import TEACHES_ON
from compactor.models.bundled import OnnxBackbone
from compactor.models.student import Student, parameter_count
from compactor.release.exported_teachers import ExportedTeachers, export_teachers, why_not
from compactor.release.job import ReleaseJob
from compactor.torch_runtime import write_ensemble
from compactor_exporters import ExportSource
from compactor_runtimes.backends import choose_runtime, file_of, options_of
from compactor_runtimes.bundle.manifest import Artifact
from compactor_runtimes.environment import usable_cores
from compactor_runtimes.errors import CompactorError, UnfitEnvironmentError
from compactor_runtimes.files import writing
from compactor_runtimes.measure.anatomy import Anatomy
from compactor_runtimes.measure.harness import measure
from compactor_runtimes.measure.measurement import Candidate, Measurement, Settings
from compactor_runtimes.measure.peaks import measure_peaks
from compactor_runtimes.measure.work import roofline
from compactor_runtimes.report import artifact_bytes, artifact_name

MEASURED_SAMPLES = 64
EXPORTED = "bundle:"
TORCH = "compactor.torch_runtime:open_runtime"


@dataclass(frozen=True)
class Costs:
    """What was measured, where time and memory go, and what could not be measured and why."""

    measurements: list[Measurement] = field(default_factory=list)
    anatomies: list[Anatomy] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def measure_all(job: ReleaseJob, source: ExportSource, artifacts: list[Artifact]) -> Costs:
    """Measure the teachers together, the student in torch, and every artifact.

    Teachers are measured in torch and, with `measure.teacher: bundle`, exported in the artifacts' runtime.
    A single one that is exported by itself is measured as its bundle serves it, and not in torch: that torch
    calls it in between would be no cost of the teacher.
    """
    notes: list[str] = []
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
        served = _served(together, job.models)
        teachers = [served or together]
        if served is None and job.measure.teacher == "bundle":
            teachers += _exported(job, together, notes)
        candidates = [*teachers, *candidates]
    candidates += [_candidate(job, student, artifact) for artifact in artifacts]
    lay_out_assets(source, job.folder)
    samples = job.task.raws(job.data.select, MEASURED_SAMPLES, job.folder / "measured")
    settings = Settings(
        scenarios=list(job.measure.scenarios),
        profile=job.measure.profile,
        threads=job.measure.threads,
        # a smoke run in torch alone shows that steps work; its stages and operators are nobody's
        dissect=not (job.is_smoke and job.measure.teacher == "torch"),
    )
    with job.reporter.bar("measure", 1) as bar:
        found = measure(
            candidates, samples, settings, progress=lambda what, done, total: bar.at(done, what, total)
        )
    anatomies = with_floors(found.anatomies, job.measure.threads, notes)
    return Costs(found.measurements, anatomies, notes)


def with_floors(anatomies: list[Anatomy], threads: int | None, notes: list[str]) -> list[Anatomy]:
    """Add to each anatomy whose work is known the least time that this machine needs for it."""
    if not any(one.work for one in anatomies):
        return anatomies
    try:
        peaks = measure_peaks(threads or usable_cores())
    except UnfitEnvironmentError as error:  # no reason to lose what was measured
        notes.append(str(error))
        return anatomies
    return [
        msgspec.structs.replace(one, roofline=roofline(one.work, peaks)) if one.work else one
        for one in anatomies
    ]


def _exported(job: ReleaseJob, together: Candidate, notes: list[str]) -> list[Candidate]:
    """The teachers once more, as one ONNX graph; none where they cannot be exported, which is noted."""
    name = onnx_name([teacher.name for teacher in job.teachers])
    folders = [teacher.folder for teacher in job.teachers]
    with job.reporter.bar("export the teachers", 1) as bar:
        try:
            exported = export_teachers(
                job.models,
                folders,
                job.task,
                job.data.select,
                name=f"{job.name}-teachers",
                kept=job.kept_teachers or (lambda digest: job.folder / "kept-teachers" / digest[:12]),
                scratch=job.folder / "teachers-export",
                tell=lambda what: bar.at(0, what),
            )
        except (CompactorError, RuntimeError, ValueError) as error:  # the student ships all the same
            why = f"{name}: was not exported, so the teachers were measured in torch alone: {why_not(error)}"
            notes.append(why)
            job.reporter.note(why)
            return []
        bar.at(1)
    _show(job, exported)
    entry = exported.artifact.files[0]
    return [
        msgspec.structs.replace(
            together,
            name=name,
            runtime=TEACHES_ON,
            source=str(exported.file),
            digest=entry.sha256,
            size_bytes=artifact_bytes(exported.artifact),
            precision=exported.artifact.spec.precision,
        )
    ]


def _show(job: ReleaseJob, exported: ExportedTeachers) -> None:
    """Link the kept bundle from the run, so that `clean` knows who needs it."""
    if job.kept_teachers is not None:
        link_stage(job.folder, exported.bundle.path.name, exported.bundle.path, kind=EXPORTED_TEACHERS)


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


def onnx_name(names: list[str]) -> str:
    """The same subject's name once it is one ONNX graph, by which a report knows that it is the same."""
    return f"{names[0] if len(names) == 1 else 'teachers'} (onnx)"


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
