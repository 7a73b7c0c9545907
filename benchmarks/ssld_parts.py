"""What suite `ssld` measures beside its training arms: sets of labels, copies, the speed of a build."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.arms import CACHE, kept, train
from benchmarks.multi_label import compose, recipe
from benchmarks.near_duplicates import Size

COMPOSED = CACHE / "ssld" / "composed"
MULTI_LABEL = {
    "multilabel_plain": ("supervised", "binary cross-entropy"),
    "multilabel_distilled": ("ssld", "SKL-UGI: the same and symmetric KL of each label to a larger teacher"),
}
SIZES: tuple[Size, ...] = (32, 96)
BLOCKS = (0,)
SEARCHED = 10_000  # images of the pool and of the references, as in `copies_32`
POOL_SOURCE = "imagenette96/train.parquet"  # 9,469 images that CIFAR-10 does not hold
POOL_RECIPE: dict[str, Any] = {
    "name": "pool-speed",
    "task": "image-classification",
    "data": {"dataset": "cifar10", "image_size": 32},
    "teachers": [
        {"model": "cifar:resnet20", "weights": "teachers/cifar10_akamaster/resnet20.safetensors"},
    ],
    "student": {"model": "cifar:resnet8"},
    "stages": [{"id": "distil", "method": "ssld", "steps": 1}],
    "pool": {"sources": [{"dataset": POOL_SOURCE}], "take": {"by": "score", "top": 400}},
}


def multi_label_recipe(arm: str, rate: float, seed: int) -> Any:
    """The recipe of an arm of several labels an image; nothing is written or read."""
    from compactor.recipe.load import LoadedRecipe, parse_recipe

    plain = recipe(Path(COMPOSED.name), MULTI_LABEL[arm][0], seed=seed, lr=rate)
    return LoadedRecipe(parse_recipe(plain), COMPOSED.parent, arm)


def write_composed() -> None:
    """Write the images of several labels, where they are not there yet."""
    if not (COMPOSED / "test.parquet").is_file():
        compose(COMPOSED)


def run_multi_label(loaded: Any, name: str) -> dict[str, Any]:
    """Train a student; its mean average precision on select and report, by our count and by torchmetrics'."""
    import torch
    from torchmetrics.functional.classification import multilabel_average_precision

    from compactor.evaluation import split_labels, student_answers
    from compactor.tasks import task_named
    from compactor_runtimes.stats.multi_label import mean_average_precision

    trained, found = train(loaded, name), {}
    task = task_named("image-multi-label")
    for split in (trained.data.select, trained.data.report):
        logits = student_answers(trained.student, task.batches(split))[task.head.name]
        labels = split_labels(task, split)
        theirs = multilabel_average_precision(
            torch.from_numpy(logits), torch.from_numpy(labels), num_labels=labels.shape[1]
        )
        found[split.name] = {
            "map": float(mean_average_precision(logits, labels)),
            "map_of_torchmetrics": float(theirs),
            "rows": len(split),
        }
    return {"select_accuracy": found["select"]["map"], "multi_label": found, **kept(trained)}


def run_copies(size: Size) -> dict[str, Any]:
    """Plant copies of test images in a pool of training images, and look for them."""
    import msgspec

    from benchmarks.near_duplicates import measure

    plain: dict[str, Any] = msgspec.to_builtins(measure(size))
    return plain


def run_neighbours() -> dict[str, Any]:
    """Find the neighbours that a search among as many images needs, by our product and by faiss, exactly.

    Raises:
        RuntimeError: faiss is not installed; nothing but this comparison needs it.
    """
    import numpy as np

    from compactor.data.spec import NearDuplicateSettings
    from compactor.pool.neighbours import nearest, unit_rows

    try:
        import faiss
    except ImportError as error:
        raise RuntimeError("run: pip install faiss-cpu") from error
    settings, random = NearDuplicateSettings(), np.random.default_rng(0)
    found: dict[str, Any] = {"product_s": 0.0, "faiss_s": 0.0, "same": []}
    for rows, width, k in (
        (3 * SEARCHED, 64, settings.neighbours),
        (2 * SEARCHED, 192, settings.thumbnail_neighbours),
    ):
        index = unit_rows(random.standard_normal((rows, width)))
        queries = unit_rows(random.standard_normal((SEARCHED, width)))
        started_s = time.perf_counter()
        ours, _ = nearest(queries, lambda a, b, index=index: index[a:b], rows, k)  # type: ignore[misc]
        found["product_s"] += time.perf_counter() - started_s
        started_s = time.perf_counter()
        flat = faiss.IndexFlatIP(width)
        flat.add(index)
        _, theirs = flat.search(queries, k)
        found["faiss_s"] += time.perf_counter() - started_s
        found["same"].append(float((np.sort(ours, 1) == np.sort(theirs, 1)).mean()))
    return found


def run_build() -> dict[str, Any]:
    """Build a pool from images that lie decoded, and say how long it took."""
    from compactor.pool.build import build_pool
    from compactor.recipe.load import LoadedRecipe, parse_recipe
    from compactor.run.data import DataSets

    loaded = LoadedRecipe(parse_recipe(POOL_RECIPE), CACHE, "pool-speed")
    with TemporaryDirectory() as scratch:
        from compactor.pool.candidates import open_candidates
        from compactor.progress import SilentReporter

        silent = SilentReporter()
        open_candidates(loaded, DataSets(loaded, silent).open(loaded.recipe.data), silent)
        started_s = time.perf_counter()
        built = build_pool(loaded, runs=Path(scratch))
        seconds = time.perf_counter() - started_s
    assert built.record is not None
    removed = sum(one.images for one in built.record.removed)
    return {"images": built.candidates, "removed": removed, "kept": built.record.kept, "seconds": seconds}
