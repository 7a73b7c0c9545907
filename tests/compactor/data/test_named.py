"""The embedded data set: pixels, splits and ids."""

import numpy as np
from sklearn.datasets import load_digits

from compactor.data.datasets import image_steps, open_dataset
from compactor.data.spec import DataSpec
from compactor.records import ImageInfo
from compactor_runtimes.bundle.manifest import CenterCrop, DecodeImage, Resize


def digits(**settings):
    return open_dataset(DataSpec(dataset="digits", **settings), base=None)


def test_pixels_are_scikit_learns_scaled_to_bytes_and_ids_its_rows():
    data, found = digits(), load_digits()
    assert data.train.inputs.shape == (1797, 8, 8, 1)
    assert data.train.inputs.dtype == np.uint8
    # 0..16 -> 0..255: 5 * 255 / 16 = 79.69 -> 80 and 8 * 255 / 16 = 127.5 -> 128 (round half to even)
    for value, expected in ((0, 0), (5, 80), (8, 128), (16, 255)):
        assert (data.train.inputs[..., 0][found.images == value] == expected).all()
    assert (data.train.labels["label"] == found.target).all()


def test_splits_are_stratified_disjoint_and_complete():
    data = digits()
    # 20% and 15% of 1,797
    assert [len(data.report), len(data.select), len(data.train)] == [359, 270, 1168]
    assert len(set(data.train.rows) | set(data.select.rows) | set(data.report.rows)) == 1797
    shares = np.bincount(data.train.labels["label"]) / 1797
    for split in (data.select, data.report):
        counts = np.bincount(split.labels["label"][split.rows], minlength=10)
        assert np.abs(counts - shares * len(split)).max() < 2


def test_opening_twice_gives_the_same_digests_and_another_seed_others():
    first, second = digits(), digits()
    assert first.digest == second.digest
    assert first.select.digest == second.select.digest
    assert open_dataset(DataSpec(dataset="digits"), base=None, seed=1).digest != first.digest


def test_select_and_limit_are_followed():
    data = digits(select=100, limit={"train": 50})
    assert [len(data.select), len(data.train), len(data.report)] == [100, 50, 359]
    assert np.bincount(data.train.labels["label"][data.train.rows]).tolist() == [5] * 10


def test_info_states_what_a_model_and_a_bundle_need():
    info = digits().info
    assert info.task == "image-classification"
    assert info.classes == {"label": list("0123456789")}
    assert info.image == ImageInfo(8, 8, 1)
    assert image_steps(info) == [DecodeImage(mode="L"), Resize(size=8), CenterCrop(height=8, width=8)]


def test_colour_and_size_are_decoded_as_files_are():
    grey, rgb = digits(), digits(color="rgb", image_size=8)
    assert rgb.train.inputs.shape == (1797, 8, 8, 3)
    assert (rgb.train.inputs == grey.train.inputs).all()
    assert rgb.digest != grey.digest
    assert digits(image_size=16).train.inputs.shape == (1797, 16, 16, 1)
