"""ONNX Runtime and OpenVINO report home unless told not to: no process of ours lets them.

Both write files below the home folder when they are imported: one that stays empty proves the switch.
"""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging.sources import tree_of
from tests.packaging.test_imports import ROOT, SOURCES
from tests.runtimes.conftest import write_bundle

EXPORT = """
import sys
from pathlib import Path
import torch
from torch import nn
from compactor_exporters import ExportSource, Workspace, export_artifact
from compactor_exporters.verify.artifact import verify_against
from compactor_exporters.verify.reference import Reference
from compactor_runtimes.bundle.manifest import ExportSpec, InputPort, OutputPort

torch.manual_seed(0)
module = nn.Sequential(nn.Flatten(), nn.Linear(48, 3)).eval()
port = InputPort(
    name="x", dtype="float32", axes=["batch", 3, 4, 4], min=[1, 3, 4, 4], max=[8, 3, 4, 4], role="image"
)
source = ExportSource(
    name="toy", task="image-classification", module=module, example={"x": torch.rand(2, 3, 4, 4)},
    inputs=[port], outputs=[OutputPort(name="y", dtype="float32", axes=["batch", 3], role="logits")],
    pre=[], post=[], labels={}, student_weights=module.state_dict(keep_vars=True),
)
workspace = Workspace(Path(sys.argv[1]))
reference = Reference(source, {"x": torch.rand(8, 3, 4, 4).numpy()})
int8 = ExportSpec(precision="int8", quantization="dynamic")
for spec in (ExportSpec(), ExportSpec(precision="fp16"), int8):
    assert verify_against(reference, export_artifact(source, spec, workspace), workspace).ships
assert "onnxruntime" in sys.modules
"""


@pytest.fixture
def alone(tmp_path):
    """Run a command in a process whose home is an empty folder, which must be empty afterwards."""
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)}
    for name in ("ORT_DISABLE_TELEMETRY", "CI", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        environment.pop(name, None)

    def run(*arguments: str) -> None:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert sorted(home.rglob("*")) == []

    return run


@pytest.mark.heavy
@pytest.mark.parametrize("runtime", ["ort-cpu", "openvino"])
def test_predict_and_verify_write_nothing_at_home(alone, tmp_path, runtime):
    bundle = str(write_bundle(tmp_path / "bundle").path)
    alone("-m", "compactor", "verify", bundle, "--runtime", runtime)
    alone("-m", "compactor", "predict", bundle, f"{bundle}/golden/case-0.png", "--runtime", runtime)


@pytest.mark.heavy
def test_exports_write_nothing_at_home(alone, tmp_path):
    alone("-c", EXPORT, str(tmp_path / "artifacts"))


def test_the_switch_reaches_every_child_and_leaves_a_users_own_word():
    code = "import os, compactor_runtimes\nprint(os.environ['ORT_DISABLE_TELEMETRY'])"
    for given, found in ((None, "1"), ("0", "0")):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        environment.pop("ORT_DISABLE_TELEMETRY", None)
        environment |= {} if given is None else {"ORT_DISABLE_TELEMETRY": given}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == found


def imports_of(body: list[ast.stmt]) -> set[str]:
    found = {node.module or "" for node in body if isinstance(node, ast.ImportFrom)}
    found |= {alias.name for node in body if isinstance(node, ast.Import) for alias in node.names}
    return {name.partition(".")[0] for name in found}


def test_whatever_imports_onnx_runtime_has_imported_the_package_that_holds_the_switch():
    files = [path for root in SOURCES.values() for path in root.rglob("*.py")]
    files += (ROOT / "benchmarks").rglob("*.py")
    importers = []
    for path in files:
        tree = tree_of(path)
        if "onnxruntime" not in imports_of(list(ast.walk(tree))):  # type: ignore[arg-type]
            continue
        importers.append(path.relative_to(ROOT).as_posix())
        inside = SOURCES["compactor_runtimes"] in path.parents
        by_itself = 'os.environ.setdefault("ORT_DISABLE_TELEMETRY"' in path.read_text()
        assert inside or by_itself or "compactor_runtimes" in imports_of(tree.body), path
    assert "runtimes/compactor_runtimes/backends/ort.py" in importers
    assert len(importers) >= 4


def test_only_the_backend_opens_sessions():
    """Everything else asks the table of runtimes, so that none of it is bound to one."""
    for name, root in SOURCES.items():
        for path in root.rglob("*.py"):
            text = path.read_text()
            assert "InferenceSession" not in text or path.name == "ort.py", path
            named = "backends.ort" in text and Path(root / "backends") not in path.parents
            assert not named, f"{path} of {name} imports the backend of ONNX Runtime itself"


LOOKS_UP_WITHIN_S = 12  # with the switch off a host is looked up in the first seconds
WAITS = """
import sys, time
from compactor_runtimes import load
with load(sys.argv[1]) as model:
    model.predict(sys.argv[2])
    time.sleep(float(sys.argv[3]))
"""


@pytest.mark.heavy
def test_a_process_that_predicts_opens_no_socket(tmp_path):
    """Seen by strace; with a user's own word against the switch there is one, so that the test can fail."""
    strace = shutil.which("strace")
    if strace is None or subprocess.run([strace, "-o", os.devnull, "true"], check=False).returncode:
        pytest.skip("needs strace, and the right to trace")
    bundle = write_bundle(tmp_path / "bundle").path
    words = [str(bundle), str(bundle / "golden" / "case-0.png"), str(LOOKS_UP_WITHIN_S)]
    running = {}
    for name, switch in (("ours", {}), ("off", {"ORT_DISABLE_TELEMETRY": "0"})):
        environment = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
        for unset in ("ORT_DISABLE_TELEMETRY", "CI"):
            environment.pop(unset, None)
        traced = [strace, "-f", "-qq", "-e", "trace=network", "-o", str(tmp_path / name)]
        running[name] = subprocess.Popen(
            [*traced, sys.executable, "-c", WAITS, *words], env=environment | switch
        )
    assert [one.wait(300) for one in running.values()] == [0, 0]
    seen = {name: "socket(AF_INET" in (tmp_path / name).read_text() for name in running}
    assert seen == {"ours": False, "off": True}
