"""A finished store that tests may read, and one of their own that they may damage."""

import shutil
from pathlib import Path

import pytest

from tests.compactor import label_toys


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished store: 24 + 6 samples, 6 views, shards of 5 rows. Do not change it."""
    folder = tmp_path_factory.mktemp("labels") / "whole"
    label_toys.make(folder)
    return folder


@pytest.fixture
def damaged(whole: Path, tmp_path: Path) -> Path:
    """A copy of it to damage."""
    return Path(shutil.copytree(whole, tmp_path / "store"))
