"""CIFAR-10 from `$COMPACTOR_DATA/cifar10`: 50,000 train and 10,000 report images of 32 x 32 pixels."""

from compactor.data.cache import Opening
from compactor.data.datasets import open_files
from compactor.data.files import locate_published
from compactor.data.spec import DataSpec
from compactor.data.splits import Dataset


def load(spec: DataSpec, opening: Opening) -> Dataset:
    """Open CIFAR-10; select is 5,000 rows of train (500 a class) unless `spec.select` says otherwise.

    Raises:
        UsageError: the files are missing or damaged.
    """
    train, report = locate_published("cifar10", ["train.parquet", "test.parquet"])
    return open_files({"train": [train], "report": [report]}, spec, opening)
