"""Files appear whole, with the permissions of the umask, or not at all."""

import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from compactor_runtimes.files import new_folder, write_whole, written_whole
from compactor_runtimes.stats.predictions import Predictions, write_predictions
from tests.file_modes import EXPECTED, modes, umask


@pytest.mark.parametrize("mask", EXPECTED)
def test_modes_are_those_of_a_new_file_whoever_writes_it(tmp_path: Path, mask: int) -> None:
    """The writer of safetensors makes 0600 whatever the umask: the reason for this mechanism."""
    with umask(mask):
        write_whole(tmp_path / "out/plain", b"content")
        with written_whole(tmp_path / "out/tensors") as partial:
            save_file({"a": np.ones(3)}, partial)
        write_predictions(
            Predictions("digest", np.arange(2), np.arange(2), {"a": np.arange(2)}, {}), tmp_path / "out"
        )
        filled = new_folder(tmp_path / "out", ".filling.")
        write_whole(filled / "deep/file", b"")
        filled.rename(tmp_path / "out/folder")
    assert modes(tmp_path / "out") == EXPECTED[mask]
    assert (tmp_path / "out/plain").read_bytes() == b"content"
    assert load_file(tmp_path / "out/tensors")["a"].tolist() == [1, 1, 1]


def test_an_error_keeps_the_old_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    path.write_bytes(b"old")

    def fail() -> None:
        with written_whole(path) as partial:
            partial.write_bytes(b"half of the ne")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert os.listdir(tmp_path) == ["kept"]
    assert path.read_bytes() == b"old"


def test_two_folders_of_one_prefix_are_two(tmp_path: Path) -> None:
    first, second = new_folder(tmp_path, ".x."), new_folder(tmp_path, ".x.")
    assert first != second
    assert first.name.startswith(".x.")
    assert first.suffix == ".partial"
