"""Answers kept beside a report: read back as written, damage is named."""

from pathlib import Path

import numpy as np
import pytest

from compactor_runtimes.errors import IntegrityError
from compactor_runtimes.stats.predictions import Predictions, read_predictions, write_predictions


def test_answers_come_back_and_only_labelled_samples_are_judged(tmp_path: Path) -> None:
    written = Predictions(
        "abc",
        np.array([3, 5, 8]),
        np.array([1, -100, 0]),
        {"student (torch)": np.array([1, 2, 2]), "onnx fp32": np.array([1, 0, 0])},
        {"student (torch)": np.ones(3, np.float32), "onnx fp32": np.full(3, 0.5, np.float32)},
    )
    found = read_predictions(write_predictions(written, tmp_path / "new"))
    assert found.digest == "abc"
    assert found.ids.tolist() == [3, 5, 8]
    assert found.labels.tolist() == [1, -100, 0]
    assert list(found.top1) == list(found.confidence) == ["onnx fp32", "student (torch)"]
    assert found.confidence["onnx fp32"].tolist() == [0.5] * 3
    assert found.correct("student (torch)").tolist() == [True, False]
    assert found.correct("onnx fp32").tolist() == [True, True]


def test_damage_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        IntegrityError, match=r"lost\.safetensors: are no predictions .*; run the recipe again"
    ):
        read_predictions(tmp_path / "lost.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"nonsense")
    with pytest.raises(IntegrityError, match="bad.safetensors: are no predictions"):
        read_predictions(tmp_path / "bad.safetensors")
    from safetensors.numpy import save_file

    save_file({"other": np.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(IntegrityError, match=r"holds \['other'\], predictions of version 1 expected"):
        read_predictions(tmp_path / "other.safetensors")
