"""Imagenette (10 ImageNet classes, 96 x 96) from `$COMPACTOR_DATA/imagenette96`; validation is report."""

import msgspec

from compactor.data.cache import Opening
from compactor.data.datasets import open_files
from compactor.data.files import locate_published
from compactor.data.spec import DataSpec
from compactor.data.splits import Dataset


def load(spec: DataSpec, opening: Opening) -> Dataset:
    """Open Imagenette; labels are 0..9 in the order of the WordNet ids, as in ImageNet.

    Raises:
        UsageError: the files are missing or damaged.
    """
    train, report = locate_published("imagenette96", ["train.parquet", "validation.parquet"])
    named = msgspec.structs.replace(spec, label_column="wnid")
    return open_files({"train": [train], "report": [report]}, named, opening)
