"""Bundles of eight models in fp32 and int8, made by the product, and what they cost on two runtimes."""

import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.arms import CACHE
from benchmarks.export_models import MODELS as EXPORTED
from benchmarks.export_models import Entry, cifar, recipe_of
from compactor.recipe.spec import MeasureSpec

FP32: dict[str, Any] = {"precision": "fp32", "required": True}
INT8: dict[str, Any] = {"precision": "int8", "quantization": "static"}
# the table shows what int8 loses as well: an artifact that failed its gate is measured all the same
VARIANTS = [FP32, INT8 | {"override": "measured for a table, whatever it loses"}]
TAKEN = ("resnet20", "resnet56", "efficientnet_lite0", "mobilenetv3_large_100", "resnet50d")
MODELS: dict[str, Entry] = {
    **{name: replace(EXPORTED[name], variants=VARIANTS) for name in TAKEN},
    # int8 vectors differ by so much that no bundle holds them
    "minilm": replace(EXPORTED["minilm"], variants=[FP32, INT8]),
    "resnet32": Entry("CIFAR ResNet-32", VARIANTS, cifar("resnet32")),
    "resnet44": Entry("CIFAR ResNet-44", VARIANTS, cifar("resnet44")),
}
RUNTIMES = ("ort-cpu", "openvino")
SAMPLES = 256
SAME_DIRECTION = 0.999


def bundle_of(name: str) -> Path:
    """Export a model once; the bundle is kept in the cache."""
    root = CACHE / "measure"
    latest = root / f"export-{name}" / "latest" / "bundle"
    if not (latest / "manifest.json").is_file():
        from rich.console import Console

        from compactor.progress import RichReporter
        from compactor.run.pipeline import run_recipe

        loaded = recipe_of(name, MODELS[name], MeasureSpec(scenarios=[]))
        run_recipe(loaded, runs=root, reporter=RichReporter(Console(stderr=True)))
    return latest


def raws_of(name: str, folder: Path) -> list[Path]:
    """Raw select samples of a model's data."""
    from compactor.progress import SilentReporter
    from compactor.run.data import DataSets
    from compactor.tasks import task_named

    loaded = recipe_of(name, MODELS[name], MeasureSpec(scenarios=[]))
    data = DataSets(loaded, SilentReporter()).open(loaded.recipe.data)
    return task_named(loaded.recipe.task).raws(data.select, SAMPLES, folder)


def profiled(name: str) -> dict[str, Any]:
    """One model's subjects: golden verdict, agreement with fp32, latency, throughput, memory."""
    from compactor_runtimes.measure.measurement import Settings
    from compactor_runtimes.profiling.profile import profile_bundles
    from compactor_runtimes.profiling.subjects import Wanted

    bundle = bundle_of(name)
    with TemporaryDirectory() as folder:
        raws = raws_of(name, Path(folder))
        profile = profile_bundles(
            [bundle],
            Wanted(runtimes=RUNTIMES),
            Settings(profile="quick", cold_starts=0, dissect=True),
            samples=raws,
            again=1,
            progress=lambda what, done, total: print(f"{name}: {done}/{total} {what}", file=sys.stderr),
        )
        same = _agreement(bundle, raws)
    anatomies = {one.subject: one for one in profile.anatomies}
    subjects = []
    for row in profile.subjects:
        own = {(one.scope, one.scenario): one for one in profile.measurements if one.subject == row.name}
        single, offline = own.get(("compute", "single-stream")), own.get(("compute", "offline"))
        placement = anatomies[row.name].placement if row.name in anatomies else None
        subjects.append(
            {
                "artifact": row.artifact,
                "runtime": row.runtime,
                "not_run": row.not_run,
                "golden": all(check.passed for check in row.golden) and bool(row.golden),
                "worst": next((check.detail for check in row.golden if not check.passed), ""),
                "size_bytes": row.size_bytes,
                "median_ns": single.median_ns if single else None,
                "blocks_ns": single.spread.block_medians_ns if single else [],
                "session": single.session if single else "",
                "n": single.n if single else None,
                "p99_ns": single.percentile(0.99).value_ns if single else None,
                "valid": bool(single and single.valid),
                "reasons": single.reasons if single else [],
                "samples_per_s": offline.images_per_s if offline else None,
                "rss_bytes": single.rss_bytes if single else None,
                "pss_bytes": single.pss_bytes if single else None,
                "precisions": placement.precisions if placement else {},
                "agreement": same.get((row.artifact, row.runtime)),
            }
        )
    return {"model": name, "title": MODELS[name].title, "agreement_n": len(raws), "subjects": subjects}


def _agreement(bundle: Path, raws: list[Path]) -> dict[tuple[str, str], float]:
    """Share of samples that each subject answers like fp32 in ONNX Runtime, which is the student to 1e-5."""
    import numpy as np

    from compactor_runtimes import load, open_bundle

    answers: dict[tuple[str, str], Any] = {}
    contents = [path.read_bytes() for path in raws]
    for artifact in open_bundle(bundle).manifest.main.artifacts:
        for runtime in RUNTIMES if artifact.ships else ():
            with load(bundle, artifact=artifact.name, runtime=runtime) as model:
                answers[artifact.name, runtime] = [model.logits(one)[0] for one in contents]
    reference = answers["fp32", "ort-cpu"]
    embeds = not model.labels

    def alike(a: Any, b: Any) -> bool:
        if not embeds:
            return bool(np.argmax(a) == np.argmax(b))
        return bool(np.dot(a, b) >= SAME_DIRECTION * np.linalg.norm(a) * np.linalg.norm(b))

    return {
        key: float(np.mean([alike(a, b) for a, b in zip(mine, reference, strict=True)]))
        for key, mine in answers.items()
    }
