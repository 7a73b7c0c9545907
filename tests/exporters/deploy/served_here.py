"""The install steps and the command of a deployed folder, run in an environment of its own, no container.

The installed metadata may be older than pyproject.toml: packages are resolved for that of the source.
"""

import os
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
import venv
from contextlib import chdir, contextmanager

import pytest

from compactor.cli import COMMANDS
from tests.conftest import ROOT


def metadata_of_the_source(folder):
    """Write what an installation of this source has; return the folder to put on sys.path."""
    from hatchling.build import prepare_metadata_for_build_editable

    with chdir(ROOT):
        info = prepare_metadata_for_build_editable(str(folder))
    path = folder / info / "METADATA"
    head, blank, body = path.read_text().partition("\n\n")
    if "Provides-Extra: serve" not in head:
        head += "\nProvides-Extra: serve" + "".join(
            f"\nRequires-Dist: {each}; extra == 'serve'"
            for each in ("fastapi", "uvicorn", "prometheus-client")
        )
    path.write_text(head + blank + body)
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    lines = [f"{name} = {target}" for name, target in scripts.items()]
    (folder / info / "entry_points.txt").write_text("\n".join(["[console_scripts]", *lines, ""]))
    return folder


def clean_environment(folder):
    """Make an environment, and return the folder of its programs and the variables to run them with."""
    venv.create(folder, with_pip=True)
    dropped = ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME")
    env = {name: value for name, value in os.environ.items() if name not in dropped}
    return folder / "bin", {**env, "PATH": f"{folder / 'bin'}{os.pathsep}{env['PATH']}"}


def run(command, *, cwd, env):
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout


def free_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


needs_serve = pytest.mark.skipif(
    "serve" not in COMMANDS, reason="this release has no command serve yet; what installs it is tested above"
)


@contextmanager
def serving(command, port, *, env):
    """Run a server until the block ends; it must be ready within a minute, and stop when it is told to."""
    with subprocess.Popen(command, env=env, stdout=sys.stderr, stderr=sys.stderr) as process:
        try:
            wait_until_ready(process, f"http://127.0.0.1:{port}/v2/health/ready")
            yield
            process.terminate()
            process.wait(30)
        finally:
            process.kill()


def wait_until_ready(process, address):
    for _ in range(600):
        assert process.poll() is None, process.returncode
        try:
            with urllib.request.urlopen(address, timeout=2) as answer:
                assert answer.status == 200
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise AssertionError(f"{address}: not ready within a minute")
