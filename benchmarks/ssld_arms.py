"""The training arms of suite `ssld`: the recipe `cifar10-ssld` with equal steps and one thing changed."""

import gzip
from pathlib import Path
from typing import Any

from benchmarks.arms import CACHE

LABELLED, POOL = 5_000, 40_000
STEPS, TUNE_STEPS, BATCH = 1_000, 100, 128
WARMUP_STEPS = 50
PUBLISHED = {
    "model": "cifar:resnet56",
    "weights": "teachers/cifar10_akamaster/resnet56.safetensors",
}
FASHION = Path(
    "/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz"
)  # Debian: dataset-fashion-mnist
POLLUTION = CACHE / "ssld" / "fashion.parquet"
HEADER_BYTES = 16  # of an IDX file of images

CIFAR: dict[str, Any] = {"dataset": "cifar10"}
# arm -> what is mixed into stage 1, options of the method, steps of stage 2, teachers (None: trained here)
SSLD: dict[str, dict[str, Any]] = {
    "ssld_0": {"also": []},
    "ssld_10k": {"also": [CIFAR | {"limit": POOL // 4}]},
    "ssld_40k": {},
    "ssld_polluted": {
        "also": [CIFAR | {"limit": POOL // 2}, {"dataset": POLLUTION.name, "limit": POOL // 2}],
    },
    "ssld_polluted_bn_eval": {
        "also": [CIFAR | {"limit": POOL // 2}, {"dataset": POLLUTION.name, "limit": POOL // 2}],
        "options": {"teacher_bn": "eval"},
    },
    "ssld_no_stage2": {"tune": 0},
    "ssld_soft_ce": {"options": {"divergence": "soft_ce"}},
    "ssld_bn_eval": {"options": {"teacher_bn": "eval"}},
    "ssld_published": {"teachers": [PUBLISHED]},
}
PLAIN: dict[str, dict[str, Any]] = {
    "hard": {"method": "supervised", "options": {}},
    "kd_labelled": {"method": "kd", "options": {"temperature": 4.0, "soft_weight": 0.9}},
}
WHAT = {
    "hard": "hard labels",
    "kd_labelled": "KD (T 4, soft weight 0.9) on the labelled images",
    "ssld_0": "SSLD without a pool",
    "ssld_10k": "SSLD, pool of 10,000",
    "ssld_40k": "SSLD, pool of 40,000",
    "ssld_polluted": "SSLD, pool of 40,000, half of it Fashion-MNIST",
    "ssld_polluted_bn_eval": "SSLD, the polluted pool, teacher BatchNorm by running statistics",
    "ssld_no_stage2": "SSLD, pool of 40,000, without stage 2",
    "ssld_soft_ce": "SSLD, pool of 40,000, soft cross-entropy",
    "ssld_bn_eval": "SSLD, pool of 40,000, teacher BatchNorm by running statistics",
    "ssld_published": "SSLD, pool of 40,000, published ResNet-56, which has seen the pool's labels",
}


def training_recipe(arm: str, rate: float, seed: int) -> Any:
    """The recipe of an arm: as many steps for all, 100 of them in stage 2 where there is one."""
    from msgspec.structs import replace

    from compactor.recipe.load import load_recipe

    change = PLAIN.get(arm) or SSLD[arm]
    tune = 0 if arm in PLAIN else change.get("tune", TUNE_STEPS)
    also = [] if arm in PLAIN else change.get("also", [CIFAR])
    rows = LABELLED + sum(one.get("limit", POOL) for one in also)
    overrides = [
        f"seed={seed}",
        f"stages.1.method={change.get('method', 'ssld')}",
        f"stages.1.options={change.get('options', {})}",
        f"stages.1.data.also={also}",
        f"stages.1.lr={rate}",
        *_length(1, STEPS - tune, rows),
        f"stages.2.options={change.get('options', {}) if arm in SSLD else {}}",
        f"stages.2.lr={rate / 100}",
        *_length(2, tune or 1, LABELLED),
    ]
    if "teachers" in change:
        overrides += [f"stages.{stage}.teachers={change['teachers']}" for stage in (1, 2)]
    loaded = load_recipe("cifar10-ssld", overrides)
    teacher, distil, *tuning = loaded.recipe.stages
    teacher = replace(teacher, seed=0)  # one teacher for all seeds of the students
    if arm == "hard":
        distil = replace(distil, teachers=[])
    stages = [teacher, distil, *(tuning if tune else [])]
    recipe = replace(loaded.recipe, stages=stages)
    return replace(loaded, recipe=recipe, base=POLLUTION.parent)


def _length(stage: int, steps: int, rows: int) -> list[str]:
    """So many steps, with a warm-up that is as long in every arm."""
    warmup = round(min(WARMUP_STEPS, steps // 10) * BATCH / rows, 4)
    return [
        f"stages.{stage}.epochs=null",
        f"stages.{stage}.steps={steps}",
        f"stages.{stage}.warmup_epochs={warmup}",
    ]


def write_pollution() -> None:
    """Write Fashion-MNIST's training images as a table of 32 x 32 PNG files, without labels.

    Raises:
        RuntimeError: Debian's package of them is not installed.
    """
    if POLLUTION.is_file():
        return
    if not FASHION.is_file():
        raise RuntimeError(f"{FASHION} is not there: apt-get install dataset-fashion-mnist")
    import io

    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    raw = np.frombuffer(gzip.decompress(FASHION.read_bytes()), dtype=np.uint8, offset=HEADER_BYTES)
    cells = []
    for image in raw.reshape(-1, 28, 28)[:POOL]:
        file = io.BytesIO()
        Image.fromarray(np.pad(image, 2)).convert("RGB").save(file, format="PNG")
        cells.append(file.getvalue())
    POLLUTION.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": cells}), POLLUTION)
