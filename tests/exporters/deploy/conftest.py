"""Bundles to deploy, and packages that are resolved without an index where that is not what is asked."""

import pytest

from compactor_exporters.deploy import requirements
from compactor_exporters.deploy.requirements import Pin
from tests.runtimes.conftest import write_bundle
from tests.runtimes.text_bundles import write_text_bundle

PINS = [Pin("click", "8.5.1", "ab" * 32), Pin("numpy", "2.4.6", "cd" * 32)]


@pytest.fixture
def images(tmp_path):
    return write_bundle(tmp_path / "made/images").path


@pytest.fixture
def texts(tmp_path):
    return write_text_bundle(tmp_path / "made/texts").path


@pytest.fixture
def no_index(monkeypatch):
    """Two pins by hand; what pip gives is `test_docker.py`'s."""
    asked = []
    monkeypatch.setattr(requirements, "check_extras", lambda extras: None)
    monkeypatch.setattr(requirements, "closure", lambda wheel, extras: asked.append(list(extras)) or PINS)
    return asked
