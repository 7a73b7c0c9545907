"""The wheel: what it holds, and that its `image` extra alone serves a bundle."""

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT, Finished


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.mark.heavy
def test_the_wheel_holds_exactly_the_three_packages(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {
        "compactor",
        "compactor_exporters",
        "compactor_runtimes",
    }
    assert {name for name in names if name.endswith("py.typed")} == {
        f"{package}/py.typed" for package in ("compactor", "compactor_exporters", "compactor_runtimes")
    }
    assert "compactor/recipes/digits.yaml" in names
    templates = "compactor_runtimes/report/templates/"
    others = {name for name in names if not name.endswith((".py", ".yaml", "py.typed"))}
    others = {name for name in others if ".dist-info/" not in name}
    pages = {f"{templates}{name}.html.jinja" for name in ("report", "profile", "machines", "page", "parts")}
    deployed = {
        "docker": ("Dockerfile", "dockerignore", "README.md"),
        "systemd": ("unit.service", "README.md"),
        "triton": ("raw_model.txt", "feeds_model.txt", "README.md"),
        "web": ("app.mjs", "index.html", "README.md"),
    }
    pages |= {
        f"compactor_exporters/deploy/templates/{target}/{name}"
        for target, written in deployed.items()
        for name in written
    }
    assert others == {f"{templates}report.{end}" for end in ("css", "js")} | pages
    assert [name for name in names if name.endswith("licenses/LICENSE")]


@pytest.mark.heavy
def test_the_image_extra_alone_serves_the_bundle(wheel: Path, digits_run: Finished, tmp_path: Path) -> None:
    """No torch there: open, verify, predict from PNG files, from the command line and from Python."""
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    constraints = str(ROOT / "constraints.txt")
    run(python, "-m", "pip", "install", "--quiet", "--constraint", constraints, f"{wheel}[image]")
    installed = run(python, "-m", "pip", "list", "--format=freeze").lower()
    assert "torch" not in installed
    assert "onnxruntime==" in installed
    command = str(tmp_path / "venv" / "bin" / "compactor")
    assert "passed" in run(command, "verify", str(digits_run.bundle))
    pictures = sorted(str(path) for path in (digits_run.bundle / "golden").glob("case-*.png"))
    lines = run(command, "predict", str(digits_run.bundle), *pictures).splitlines()
    assert len(lines) == len(pictures) == 10
    code = (
        "import sys, compactor_runtimes\n"
        f"with compactor_runtimes.load({str(digits_run.bundle)!r}) as model:\n"
        f"    print(*[found.label for found in model.predict({pictures!r})])\n"
        "assert 'torch' not in sys.modules\n"
    )
    assert run(python, "-c", code).split() == [line.split("\t")[1] for line in lines]


@pytest.mark.heavy
def test_base_and_one_runtime_measure_a_bundle_and_say_what_they_cannot(
    wheel: Path, digits_run: Finished, tmp_path: Path
) -> None:
    """No torch, no LoadGen, no pillow, no jinja2: compute is measured by our own driver."""
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    constraints = str(ROOT / "constraints.txt")
    install = [python, "-m", "pip", "install", "--quiet", "--constraint", constraints]

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300, check=False
        )

    assert run(*install, f"{wheel}[ort]").returncode == 0
    command = str(tmp_path / "venv" / "bin" / "compactor")
    bundle = str(digits_run.bundle)
    done = run(command, "measure", bundle, "--profile", "smoke", "--again", "0", "--out", "compute")
    assert done.returncode == 0, done.stderr
    assert "only compute of single samples was measured: " in done.stdout
    assert "compactor-toolkit[image]" in done.stdout
    assert "profile.html was not written: " in done.stderr
    profile = json.loads((tmp_path / "compute" / "profile.json").read_text())
    assert {one["driver"] for one in profile["measurements"]} == {"compactor"}
    assert {one["scope"] for one in profile["measurements"]} == {"compute"}
    refused = run(command, "measure", bundle, "--runtime", "openvino", "--out", "other")
    assert refused.returncode == 6
    assert "pip install 'compactor-toolkit[openvino]'" in refused.stderr
    assert not (tmp_path / "other").exists()

    assert run(*install, f"{wheel}[image]").returncode == 0
    done = run(command, "measure", bundle, "--profile", "smoke", "--again", "0", "--out", "whole")
    assert done.returncode == 0, done.stderr
    profile = json.loads((tmp_path / "whole" / "profile.json").read_text())
    assert {one["scope"] for one in profile["measurements"]} == {"compute", "end-to-end", "cold-start"}
