"""These tests run in optimum's environment alone (`make test-optimum`); a plain pytest finds none of them."""

import os
from pathlib import Path

import pytest

MODELS = "COMPACTOR_OPTIMUM_MODELS"  # set by the Makefile: what `make_models.py` wrote

collect_ignore_glob = [] if MODELS in os.environ else ["test_*.py"]


@pytest.fixture(scope="session")
def models() -> Path:
    """One folder a model."""
    return Path(os.environ[MODELS])
