"""Candidates over the toy runtimes and a handful of PNG files to feed them."""

from pathlib import Path

import pytest

from compactor_runtimes.bundle.manifest import DecodeImage, ImagePre, SoftmaxPost, ToFloat
from compactor_runtimes.measure.measurement import Candidate


@pytest.fixture
def candidate(monkeypatch):
    """Build a candidate by the name of its toy; workers find the toys through this process's sys.path."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))

    def build(toy):
        return Candidate(
            name=toy,
            runtime=f"toy_runtimes:{toy}",
            source="/nowhere",
            digest=f"digest-{toy}",
            pre=[ImagePre(input="image", steps=[DecodeImage(), ToFloat()])],
            post=[SoftmaxPost(output="logits", labels="label")],
            labels={"label": ["dark", "bright"]},
            size_bytes=123,
        )

    return build


@pytest.fixture(scope="session")
def samples(tmp_path_factory):
    """Five PNG files 8 x 8, dark to bright; the first is dark."""
    image = pytest.importorskip("PIL.Image")
    folder = tmp_path_factory.mktemp("samples")
    paths = []
    for index in range(5):
        paths.append(folder / f"{index}.png")
        image.new("RGB", (8, 8), (index * 60,) * 3).save(paths[-1])
    return paths
