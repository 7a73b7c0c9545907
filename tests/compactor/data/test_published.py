"""CIFAR-10 and Imagenette for real; skipped where $COMPACTOR_DATA does not hold them."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from compactor.data.datasets import open_dataset
from compactor.data.spec import DataSpec

pytestmark = [pytest.mark.heavy, pytest.mark.real_data]


@pytest.fixture(scope="module")
def data_folder():
    return Path(os.environ["COMPACTOR_DATA"])


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    yield folder
    shutil.rmtree(folder)  # 300 MB that pytest would keep for three runs


@pytest.fixture(scope="module")
def cifar10(data_folder, cache):
    return open_dataset(DataSpec(dataset="cifar10"), base=None, cache=cache)


def test_cifar10_pixels_are_the_published_ones(cifar10, data_folder):
    splits = json.loads((data_folder / "cifar10" / "meta.json").read_text())["splits"]
    for split, name in ((cifar10.train, "train"), (cifar10.report, "test")):
        assert hashlib.sha256(split.inputs.tobytes()).hexdigest() == splits[name]["raw_pixels_sha256"]


def test_cifar10_select_is_5000_rows_of_train_500_a_class(cifar10):
    assert [len(cifar10.train), len(cifar10.select), len(cifar10.report)] == [45_000, 5_000, 10_000]
    assert not set(cifar10.train.rows) & set(cifar10.select.rows)
    assert cifar10.train.inputs is cifar10.select.inputs
    for split, each in ((cifar10.select, 500), (cifar10.train, 4_500), (cifar10.report, 1_000)):
        assert np.bincount(split.labels["label"][split.rows]).tolist() == [each] * 10
    assert cifar10.info.classes["label"][:3] == ["airplane", "automobile", "bird"]


def test_cifar10_opens_again_with_the_same_digests(cifar10, cache):
    again = open_dataset(DataSpec(dataset="cifar10"), base=None, cache=cache)
    for name in ("train", "select", "report"):
        assert getattr(again, name).digest == getattr(cifar10, name).digest
    assert again.digest == cifar10.digest


def test_imagenette_labels_follow_the_imagenet_order(data_folder, cache):
    data = open_dataset(DataSpec(dataset="imagenette96"), base=None, cache=cache)
    assert [len(data.train) + len(data.select), len(data.report)] == [9_469, 3_925]
    wnids = json.loads((data_folder / "imagenette96" / "meta.json").read_text())["classes"]
    assert data.info.classes["label"] == [wnids[index] for index in sorted(wnids, key=int)]
    # rows are round-robin by class in the file
    assert data.train.labels["label"][:20].tolist() == [*range(10), *range(10)]
    assert data.train.inputs.shape == (9_469, 96, 96, 3)
