"""The unit is one, shuts off what it can, and its command runs."""

import shlex
import shutil
import subprocess

import pytest

from compactor_exporters.deploy import deploy
from tests.exporters.deploy.served_here import (
    clean_environment,
    free_port,
    metadata_of_the_source,
    needs_serve,
    run,
    serving,
)
from tests.runtimes.conftest import write_bundle


def settings(text):
    """(section, key) -> values, in their order."""
    found, section = {}, ""
    for line in text.splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault((section, key), []).append(value)
    return found


@pytest.fixture
def unit(images, tmp_path, no_index):
    return deploy(images, "systemd", output=tmp_path / "out", name="toy").folder / "toy.service"


def test_the_unit_serves_on_the_loopback_address_and_is_hardened(unit):
    found = settings(unit.read_text())
    assert found["Service", "ExecStart"] == [
        "/opt/toy/venv/bin/compactor serve /opt/toy/bundle --host 127.0.0.1 --port 8000"
    ]
    for key, value in {
        "DynamicUser": "yes",
        "ProtectSystem": "strict",
        "NoNewPrivileges": "yes",
        "MemoryMax": "1024M",  # 768 MiB and 4 times a few hundred bytes, rounded up to 256
        "TimeoutStopSec": "30",
        "CapabilityBoundingSet": "",
        "IPAddressDeny": "any",
    }.items():
        assert found["Service", key] == [value], key


def test_the_memory_grows_with_the_weights(images):
    from compactor_exporters.deploy.served import memory_mib
    from compactor_runtimes.bundle.open import open_bundle
    from tests.exporters.deploy.heavier import heavier

    # 768 + 4 * 100 = 1168 MiB, rounded up to 256
    assert memory_mib(heavier(open_bundle(images), 100 << 20), "systemd") == 1280


def test_the_readme_installs_what_the_unit_starts(unit):
    text = (unit.parent / "README.md").read_text()
    for place in ("/opt/toy/venv", "/opt/toy/bundle", "/etc/systemd/system/toy.service"):
        assert place in text


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this machine")
def test_systemd_takes_the_unit_and_finds_little_exposed(unit, tmp_path):
    root = tmp_path / "root"
    program = root / "opt/toy/venv/bin/compactor"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    placed = root / "etc/systemd/system/toy.service"
    placed.parent.mkdir(parents=True)
    shutil.copy(unit, placed)
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no"]
    done = subprocess.run([*command, f"--root={root}", "toy.service"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    # 10 is a service with everything; 2.0 and less is what systemd calls OK
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-400:] + done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder, and what its README installs, below another place than /opt/toy."""
    place = tmp_path_factory.mktemp("systemd")
    (place / "metadata").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(metadata_of_the_source(place / "metadata"))
        bundle = write_bundle(place / "made").path
        folder = deploy(bundle, "systemd", output=place / "out", name="toy").folder
    programs, env = clean_environment(place / "opt/venv")
    steps = [line for line in (folder / "README.md").read_text().splitlines() if "-m pip install" in line]
    (install,) = [shlex.split(step.replace("/opt/toy", str(place / "opt"))) for step in steps]
    run(install, cwd=folder, env=env)
    shutil.copytree(folder / "bundle", place / "opt/bundle")
    return folder, place / "opt", programs, env


@pytest.mark.heavy
def test_what_the_readme_installs_verifies_the_bundle(installed, tmp_path):
    _, opt, programs, env = installed
    assert "passed" in run(
        [str(programs / "compactor"), "verify", str(opt / "bundle")], cwd=tmp_path, env=env
    )


@pytest.mark.heavy
@needs_serve
def test_what_the_unit_starts_runs(installed):
    folder, opt, _, env = installed
    port = free_port()
    (command,) = settings((folder / "toy.service").read_text())["Service", "ExecStart"]
    command = command.replace("/opt/toy", str(opt)).replace("8000", str(port))
    with serving(shlex.split(command), port, env=env):
        pass
