import base64
import hashlib
import io
import shutil
import tarfile
from dataclasses import replace

import pytest

from compactor_exporters.deploy import npm
from compactor_exporters.deploy.npm import Package, fetch, unpacked
from compactor_runtimes.errors import IntegrityError, UnfitEnvironmentError


def archive(**files):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as opened:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(content)
            opened.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def package(content, *files):
    digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
    return Package("toy", "1.0.0", f"sha512-{digest}", "MIT", files)


def test_the_named_files_are_taken_and_no_others():
    content = archive(a=b"A", b=b"B")
    assert unpacked(content, package(content, "a")) == {"a": b"A"}


def test_another_archive_than_the_pinned_one_is_refused():
    content = archive(a=b"A")
    with pytest.raises(IntegrityError, match="the registry gave another package"):
        unpacked(archive(a=b"B"), package(content, "a"))


def test_an_archive_that_lacks_a_file_is_refused():
    content = archive(a=b"A")
    with pytest.raises(IntegrityError, match="lacks a file"):
        unpacked(content, package(content, "other"))


def test_without_npm_it_is_named(monkeypatch):
    monkeypatch.setattr(npm.shutil, "which", lambda name: None)
    with pytest.raises(UnfitEnvironmentError, match="npm: is not installed here"):
        fetch(npm.ONNXRUNTIME_WEB)


@pytest.mark.heavy
@pytest.mark.skipif(shutil.which("npm") is None, reason="no npm on this machine")
@pytest.mark.parametrize("pinned", [npm.ONNXRUNTIME_WEB, npm.TOKENIZERS], ids=lambda each: each.name)
def test_what_is_pinned_is_what_the_registry_gives(pinned):
    assert set(fetch(pinned)) == {name.rpartition("/")[2] for name in pinned.files}
    with pytest.raises(IntegrityError):
        fetch(replace(pinned, integrity="sha512-" + "A" * 86 + "=="))
