"""What a recipe may say about data, and that saying it needs neither numpy nor torch."""

import subprocess
import sys

import msgspec
import pytest

from compactor.data.spec import AugmentSpec, DataSpec


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"dataset": "digits", "selct": 3}, "unknown field `selct`"),
        ({"dataset": ""}, r"length >= 1 - at `\$.dataset`"),
        ({"dataset": "digits", "select": 0}, r">= 1.*\$.select"),
        ({"dataset": "digits", "select": 1.5}, r"< 1.*\$.select"),
        ({"dataset": "digits", "limit": {"test": 5}}, "Invalid enum value 'test'"),
        ({"dataset": "digits", "limit": {"train": 0}}, r">= 1.*\$.limit"),
        ({"dataset": "digits", "classes": ["a", "a"]}, "a name occurs twice"),
        ({"dataset": "digits", "color": "blue"}, "Invalid enum value 'blue'"),
    ],
)
def test_wrong_data_settings_are_refused(given, found):
    with pytest.raises(msgspec.ValidationError, match=found):
        msgspec.convert(given, DataSpec)


def test_select_may_be_rows_or_a_fraction():
    assert msgspec.convert({"dataset": "x", "select": 7}, DataSpec).select == 7
    assert msgspec.convert({"dataset": "x", "select": 0.25}, DataSpec).select == 0.25


@pytest.mark.parametrize(
    "given",
    [
        {"scale": [0.5, 0.2]},
        {"scale": [0.0, 1.0]},
        {"ratio": [2, 1]},
        {"padding": -1},
        {"aspect": "uniform"},
        {"aspect": "uniform", "crop": "pad"},
        {"policy": "randaugment", "magnitude": 31},
        {"policy": "randaugment", "num_ops": 0},
        {"policy": "randaugment", "policy_probability": 0},
        {"policy_probability": 0.5},
        {"magnitude": 5},
        {"policy": "autoaugment", "num_ops": 3},
        {"erase": 1.1},
    ],
)
def test_wrong_augmentation_is_refused(given):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(given, AugmentSpec)


def test_spec_is_importable_without_numpy():
    code = "import sys; sys.modules.update(numpy=None, torch=None); import compactor.data.spec"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})
