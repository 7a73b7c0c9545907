"""Export a model that comes without data: to a verified bundle, on samples of our own.

With data, an export is a recipe without stages (`compactor.run.pipeline`); both export and judge in `ship`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from compactor.cache.digest import TOOLS, file_digest, tool_versions
from compactor.cache.folder import WEIGHTS
from compactor.data.spec import DataSpec
from compactor.data.splits import Dataset
from compactor.evaluation import student_answers
from compactor.models.build import build_model, load_model_folder, save_model
from compactor.models.student import Student
from compactor.progress import Reporter
from compactor.propose.models import FOLDERS, PRETRAINED, Named, read_model
from compactor.recipe.spec import GatesSpec, ModelSpec, Recipe
from compactor.release.artifacts import VERIFY, export_and_judge, export_source, timed
from compactor.release.measured import measure_all
from compactor.release.model_info import info_of
from compactor.release.sample_inputs import sample_split
from compactor.release.variants import parse_variants, with_overrides
from compactor.tasks import Task, task_named
from compactor.version import VERSION
from compactor_exporters.bundle_writer import (
    BundleContents,
    check_fit_to_ship,
    move_into_place,
    write_bundle,
)
from compactor_exporters.verify.artifact import concluded
from compactor_exporters.verify.gates import AGREEMENT_GATE
from compactor_exporters.verify.reference import SHAPE_GRID
from compactor_runtimes.bundle.manifest import Artifact, ExportSpec
from compactor_runtimes.bundle.open import MANIFEST
from compactor_runtimes.errors import InterruptedRun, UsageError
from compactor_runtimes.golden.verify import verify_bundle
from compactor_runtimes.measure.measurement import Measurement
from compactor_runtimes.report import choose

GOLDEN_SAMPLES = 8
TEXT_VARIANTS, IMAGE_VARIANTS = "fp32,fp32-fused", "fp32"


@dataclass(frozen=True)
class Exported:
    """A finished export: the bundle, every variant with its verdict, and which one is loaded by default."""

    bundle: Path
    task: str
    artifacts: list[Artifact]
    default: str
    samples: int
    random_weights: bool
    measurements: list[Measurement]
    seconds: dict[str, float]

    @property
    def shapes(self) -> int:
        """How many shapes of input every artifact was run on."""
        return max(
            (check.n or 0 for one in self.artifacts for check in one.checks if check.name == SHAPE_GRID),
            default=0,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data for --json."""
        built: dict[str, Any] = msgspec.to_builtins(
            {"artifacts": self.artifacts, "measurements": self.measurements}
        )
        return {
            "bundle": str(self.bundle),
            "task": self.task,
            "default_artifact": self.default,
            "samples": self.samples,
            "random_weights": self.random_weights,
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
            "shapes": self.shapes,
            **built,
        }


@dataclass
class Job:
    """One export: the student in its folder, the samples, and where files go; a `cost.Measured`."""

    run: Path
    recipe: Recipe
    task: Task
    data: Dataset
    student: Student
    student_folder: Path
    reporter: Reporter
    teachers: list[Student]
    teacher_folders: list[Path]


def export_model(
    model: str,
    *,
    task: str | None = None,
    specs: Sequence[ExportSpec] | None = None,
    reasons: Sequence[str] = (),
    bundle: Path | None = None,
    random_weights: bool = False,
    measured: bool = False,
    reporter: Reporter,
) -> Exported:
    """Export, verify and pack a model on sample sentences or photographs.

    Args:
        model: `MODEL[?OPTION=VALUE][@WEIGHTS]`.
        task: absent = what the model is for.
        specs: what to export; absent = what can be judged without data.
        reasons: `NAME=REASON`, why a variant ships although a gate failed.
        bundle: where the bundle goes; absent = `exports/NAME/bundle`.
        random_weights: start from random weights: the numbers are verified, nothing else is judged.
        measured: time the variants and choose by it; otherwise the first that ships is loaded by default.
        reporter: where progress goes.

    Raises:
        UsageError: what was asked for cannot be exported, or cannot be without data.
        NumericGateError, AccuracyGateError: a required variant, or every one, failed; nothing is written.
        InterruptedRun: Ctrl-C; nothing is written.
    """
    named = _started(read_model(model, base=None, role="model"), random_weights)
    info = info_of(named, task)
    usual = TEXT_VARIANTS if info.text is not None else IMAGE_VARIANTS
    specs = with_overrides(parse_variants(usual) if specs is None else specs, reasons)
    _refuse_calibration(specs)
    place = bundle or Path("exports") / named.short / "bundle"
    check_place(place)
    spec = ModelSpec(model=named.model, weights=named.weights, options=named.options)
    built = build_model(spec, info, base=Path.cwd()).eval()
    if built.untrained and not random_weights:
        raise UsageError(
            f"model {named.model}: its weights hold no {', '.join(built.untrained[:2])}, so these are "
            "random; give weights that hold them, or --random-weights to look at size and speed alone"
        )
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        with TemporaryDirectory(prefix=f".{place.name}.", dir=place.parent) as scratch:
            work = Path(scratch)
            save_model(built, spec, work / "student")
            samples = sample_split(info)
            job = Job(
                run=work,
                recipe=Recipe(
                    name=named.short,
                    task=info.task,
                    data=DataSpec(dataset="samples"),
                    stages=[],
                    student=spec,
                    export=list(specs),
                ),
                task=task_named(info.task),
                data=Dataset(info.task, samples, samples, samples, info, samples.digest),
                student=load_model_folder(work / "student"),
                student_folder=work / "student",
                reporter=reporter,
                teachers=[],
                teacher_folders=[],
            )
            return _ship(job, place, random_weights=random_weights, measured=measured)
    except KeyboardInterrupt:
        said = f"export of {named.model}: interrupted, {place} is as it was; run it again"
        raise InterruptedRun(said) from None


def check_place(place: Path) -> None:
    """Refuse to put a bundle where something else is.

    Raises:
        UsageError: a file, or a folder with something in it that is no bundle.
    """
    if place.is_dir() and ((place / MANIFEST).is_file() or not any(place.iterdir())):
        return
    if place.exists() or place.is_symlink():
        raise UsageError(
            f"-o {place}: exists and is no bundle, expected a new folder or a bundle to replace; name another"
        )


def _ship(job: Job, place: Path, *, random_weights: bool, measured: bool) -> Exported:
    """Export and judge, choose, write and verify the bundle, and only then move it to its place."""
    select = job.data.select
    shipment = export_and_judge(
        export_source(job.student, job.recipe.name, job.recipe.task),
        job.recipe.export,
        None if random_weights else GatesSpec(),
        job.run / "artifacts",
        student=student_answers(job.student, job.task.batches(select)),
        teacher=None,
        select=select,
        reporter=job.reporter,
        has_truth=False,
    )
    artifacts = [_with_way_out(one) for one in shipment.artifacts]
    check_fit_to_ship(artifacts)
    shipping = [one for one in artifacts if one.ships]
    measurements = measure_all(job, shipment.source, shipping, []) if measured else []
    default = choose(artifacts, measurements).artifact if measured else shipping[0]
    golden = job.run / "golden"
    written = write_bundle(
        job.run / "bundle",
        BundleContents(
            source=shipment.source,
            artifacts=artifacts,
            artifact_folder=job.run / "artifacts",
            student_folder=job.student_folder,
            raws=job.task.raws(select, GOLDEN_SAMPLES, golden) + job.task.edge_raws(select, golden),
            provenance=_provenance(job, random_weights),
            licences={"code": "Apache-2.0 (compactor-toolkit)"},
            default_artifact=default.name,
        ),
    )
    with timed(shipment.seconds, VERIFY):
        verify_bundle(written).raise_for_gate()
    move_into_place(written, place)
    return Exported(
        place,
        job.recipe.task,
        artifacts,
        default.name,
        len(select),
        random_weights,
        measurements,
        shipment.seconds,
    )


def _started(model: Named, random_weights: bool) -> Named:
    """Say where the weights come from; they are random only where that is asked for."""
    if random_weights and model.weights is not None:
        raise UsageError(
            f"model {model.model}: --random-weights contradicts weights {model.weights}; keep one"
        )
    if random_weights or model.weights is not None:
        return model
    if model.family in FOLDERS:
        return replace(model, weights=PRETRAINED)
    own = "@pretrained, " if model.family == "timm" else ""
    raise UsageError(
        f"model {model.model}: has no weights, which an export needs; give {own}@FILE.safetensors, or "
        "--random-weights to look at size and speed alone"
    )


def _refuse_calibration(specs: Sequence[ExportSpec]) -> None:
    """The samples show what is computed, not what the model will be fed: ranges taken from them are wrong."""
    for spec in specs:
        if spec.quantization == "static" or (spec.format != "onnx" and spec.precision == "int8"):
            raise UsageError(
                f"--variants {spec.name}: needs DATA, because real samples of the task set its ranges; "
                "random ones and the sample sentences and photographs are not taken for them"
            )


def _with_way_out(artifact: Artifact) -> Artifact:
    """What the samples cannot decide, data can."""
    checks = [
        msgspec.structs.replace(check, detail=f"{check.detail} (give DATA with so many select rows)")
        if check.name == AGREEMENT_GATE and "cannot be decided" in check.detail
        else check
        for check in artifact.checks
    ]
    if checks == artifact.checks:
        return artifact
    return concluded(msgspec.structs.replace(artifact, checks=checks))


def _provenance(job: Job, random_weights: bool) -> dict[str, Any]:
    kind = "packaged sentences" if job.data.info.text else "crops of scikit-learn's sample photographs"
    return {
        "compactor": VERSION,
        "model": msgspec.to_builtins(job.recipe.student),
        "random_weights": random_weights,
        "weights_sha256": file_digest(job.student_folder / WEIGHTS),
        "samples": {"what": kind, "n": len(job.data.select), "digest": job.data.select.digest},
        "judged": "numbers alone" if random_weights else "numbers and agreement; accuracy is not known",
        "versions": tool_versions((*TOOLS, "onnx", "onnxscript", "onnxruntime")),
    }
