"""Checkpoints appear whole: one that finds no room leaves the one before it."""

from pathlib import Path

import pytest
import torch

from compactor.trainer.checkpoint import load_checkpoint, save_checkpoint
from compactor_runtimes.errors import UnfitEnvironmentError
from tests.full_disk import no_room, tiny_disk

LARGE = {"step": 2, "state": torch.ones(100_000)}  # 400 kB


def test_a_checkpoint_without_room_keeps_the_one_before_it(tmp_path: Path) -> None:
    path = tmp_path / "training.pt"
    save_checkpoint(path, {"step": 1})
    with (
        pytest.raises(UnfitEnvironmentError, match=r"training\.pt: File too large; raise the limit"),
        no_room(),
    ):
        save_checkpoint(path, LARGE)
    assert load_checkpoint(path)["step"] == 1
    assert list(tmp_path.iterdir()) == [path]
    save_checkpoint(path, LARGE)
    assert load_checkpoint(path)["step"] == 2


def test_a_full_disk_keeps_the_checkpoint_before_it(tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk", "256k") as disk:
        path = disk / "training.pt"
        save_checkpoint(path, {"step": 1})
        with pytest.raises(UnfitEnvironmentError, match=r"training\.pt: No space left on device; make room"):
            save_checkpoint(path, LARGE)
        assert load_checkpoint(path)["step"] == 1
        assert list(disk.iterdir()) == [path]
