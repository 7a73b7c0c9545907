"""Export a model that comes without data: to a verified bundle, on samples of our own.

With data, an export is a recipe without stages (`compactor.run.pipeline`); both go the way of `release.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from compactor.cache.digest import SHIPPING_TOOLS, file_digest, tool_versions
from compactor.cache.folder import WEIGHTS
from compactor.data.splits import Dataset, Split
from compactor.models.build import build_model, load_model_folder, save_model
from compactor.models.trained_tokenizers import compared, trained_model
from compactor.progress import Reporter
from compactor.propose.models import FOLDERS, PRETRAINED, Named, read_model
from compactor.recipe.spec import GatesSpec, MeasureSpec, ModelSpec
from compactor.records import DataInfo
from compactor.release.job import ReleaseJob
from compactor.release.model_info import info_of
from compactor.release.release import release
from compactor.release.sample_inputs import sample_split
from compactor.release.variants import parse_variants, with_overrides
from compactor.version import VERSION
from compactor_exporters.verify.reference import SHAPE_GRID
from compactor_runtimes.bundle.manifest import Artifact, ExportSpec
from compactor_runtimes.bundle.open import MANIFEST
from compactor_runtimes.errors import InterruptedRun, UsageError
from compactor_runtimes.measure.measurement import Measurement

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
    samples = sample_split(info)
    _compare_tokenizer(spec, info, samples, reporter)
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
            job = ReleaseJob(
                name=named.short,
                task_name=info.task,
                data=Dataset(info.task, samples, samples, samples, info, samples.digest),
                student=load_model_folder(work / "student"),
                student_folder=work / "student",
                folder=work,
                exports=specs,
                gates=None if random_weights else GatesSpec(),
                measure=MeasureSpec() if measured else MeasureSpec(scenarios=[]),
                reporter=reporter,
                provenance=_provenance(spec, samples, work / "student", random_weights),
            )
            released = release(job, place=place)
            return Exported(
                bundle=released.bundle,
                task=info.task,
                artifacts=released.artifacts,
                default=released.default,
                samples=len(samples),
                random_weights=random_weights,
                measurements=released.measurements,
                seconds=released.seconds,
            )
    except KeyboardInterrupt:
        said = f"export of {named.model}: interrupted, {place} is as it was; run it again"
        raise InterruptedRun(said) from None


def _compare_tokenizer(spec: ModelSpec, info: DataInfo, samples: Split, reporter: Reporter) -> None:
    """Compare the tokenizer beside a weights file with the model folder's, which the bundle gets.

    Raises:
        UsageError: the weights were trained with another one.
    """
    model = trained_model("model", spec, Path.cwd())
    if info.text is None or model is None:
        return
    for note in compared([model], info.text, samples.inputs):
        reporter.note(note)


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


def _provenance(spec: ModelSpec, samples: Split, folder: Path, random_weights: bool) -> dict[str, Any]:
    is_text = isinstance(samples.inputs[0], str)
    kind = "packaged sentences" if is_text else "crops of scikit-learn's sample photographs"
    return {
        "compactor": VERSION,
        "model": msgspec.to_builtins(spec),
        "random_weights": random_weights,
        "weights_sha256": file_digest(folder / WEIGHTS),
        "samples": {"what": kind, "n": len(samples), "digest": samples.digest},
        "judged": "numbers alone" if random_weights else "numbers and agreement; accuracy is not known",
        "versions": tool_versions(SHIPPING_TOOLS),
    }
