"""Servers of toy bundles that many tests ask; each is started once."""

import pytest

from tests.runtimes.conftest import write_bundle
from tests.runtimes.server.live import live
from tests.runtimes.slot_bundles import write_slot_bundle
from tests.runtimes.text_bundles import write_text_bundle


@pytest.fixture(scope="session")
def all_kinds(tmp_path_factory):
    """One server of `words` (a classifier of texts), `colours` (of images), `vectors` and `intents`."""
    root = tmp_path_factory.mktemp("served")
    write_text_bundle(root / "words")
    write_bundle(root / "colours")
    write_text_bundle(root / "vectors", embedding=True)
    write_slot_bundle(root / "intents")
    with live(*(f"{name}={root / name}" for name in ("words", "colours", "vectors", "intents"))) as server:
        yield server


@pytest.fixture(scope="session")
def words(tmp_path_factory):
    """One server of the classifier of texts alone, by the name of its manifest."""
    root = tmp_path_factory.mktemp("served") / "bundle"
    write_text_bundle(root)
    with live(root) as server:
        yield server
