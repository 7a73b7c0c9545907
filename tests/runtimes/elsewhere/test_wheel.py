"""The wheel of what runs here: its bytes, its record, and that pip installs it."""

import base64
import csv
import hashlib
import os
import subprocess
import venv
import zipfile
from importlib.metadata import distribution

import pytest

from compactor_runtimes.elsewhere import wheel as module
from compactor_runtimes.elsewhere.wheel import PACKAGES, pack_wheel
from compactor_runtimes.errors import UnfitEnvironmentError


@pytest.mark.slow
def test_the_wheel_holds_the_three_packages_and_a_true_record(tmp_path):
    path = pack_wheel(tmp_path)
    assert path.name == f"compactor_toolkit-{distribution('compactor-toolkit').version}-py3-none-any.whl"
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    info = next(name.partition("/")[0] for name in contents if ".dist-info/" in name)
    assert {name.partition("/")[0] for name in contents} == {*PACKAGES, info}
    assert not [name for name in contents if "__pycache__" in name or name.endswith(".pyc")]
    assert {"compactor/cli/measure_command.py", "compactor_runtimes/py.typed"} <= set(contents)
    assert "compactor = compactor.cli:main" in contents[f"{info}/entry_points.txt"].decode()
    assert b"Provides-Extra: image" in contents[f"{info}/METADATA"]
    rows = {row[0]: row[1:] for row in csv.reader(contents[f"{info}/RECORD"].decode().splitlines())}
    assert set(rows) == set(contents)
    assert rows.pop(f"{info}/RECORD") == ["", ""]
    for name, (digest, size) in rows.items():
        stated = base64.urlsafe_b64decode(digest.removeprefix("sha256=") + "=")
        assert (stated, int(size)) == (hashlib.sha256(contents[name]).digest(), len(contents[name])), name
    again = tmp_path / "again"
    again.mkdir()
    assert pack_wheel(again).read_bytes() == path.read_bytes()


def test_without_metadata_there_is_no_wheel(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "DISTRIBUTION", "no-such-distribution")
    with pytest.raises(UnfitEnvironmentError, match="has no metadata here"):
        pack_wheel(tmp_path)


@pytest.mark.heavy
def test_pip_installs_it_and_an_ordinary_install_packs_the_same(tmp_path):
    path = pack_wheel(tmp_path)
    venv.create(tmp_path / "venv", with_pip=True)
    programs = tmp_path / "venv" / "bin"
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}

    def run(*command):
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    run(f"{programs}/python", "-m", "pip", "install", "--quiet", str(path))
    assert "--on" in run(f"{programs}/compactor", "measure", "--help")
    assert "No broken requirements" in run(f"{programs}/python", "-m", "pip", "check")
    (tmp_path / "again").mkdir()
    code = "import pathlib, compactor_runtimes.elsewhere.wheel as own; own.pack_wheel(pathlib.Path('again'))"
    run(f"{programs}/python", "-c", code)
    assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()
