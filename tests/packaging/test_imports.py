"""What may be imported where: runtime and --help without numpy and torch, each package by an extra."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.packaging.sources import tree_of

ROOT = Path(__file__).parents[2]
SOURCES = {
    "compactor": ROOT / "compactor",
    "compactor_exporters": ROOT / "exporters" / "compactor_exporters",
    "compactor_runtimes": ROOT / "runtimes" / "compactor_runtimes",
}
BASE = {"numpy", "click", "rich", "msgspec", "yaml"}
# import name -> distribution, where they differ
DISTRIBUTIONS = {
    "PIL": "pillow",
    "model_signing": "model-signing",
    "sklearn": "scikit-learn",
    "mlperf_loadgen": "mlcommons-loadgen",
    "onnx_ir": "onnx-ir",
    "huggingface_hub": "huggingface-hub",
    "tensorrt_rtx": "tensorrt-rtx",
    "cuda": "cuda-bindings",
    "prometheus_client": "prometheus-client",
    "cv2": "opencv-python-headless",
    "onnxruntime_ep_nv_tensorrt_rtx": "onnxruntime-ep-nv-tensorrt-rtx",
    "onnxruntime_ep_openvino": "onnxruntime-ep-openvino",
    "onnxruntime_ep_webgpu": "onnxruntime-ep-webgpu",
}
HEAVY = [
    "numpy",
    "torch",
    "torchvision",
    "timm",
    "transformers",
    "accelerate",
    "datasets",
    "torchmetrics",
    "sklearn",
    "scipy",
    "pyarrow",
    "pandas",
    "safetensors",
    "onnx",
    "onnxscript",
    "onnxslim",
    "onnx_ir",
    "onnxruntime",
    "openvino",
    "tensorrt",
    "tensorrt_rtx",
    "cuda",
    "PIL",
    "tokenizers",
    "mlperf_loadgen",
    "psutil",
    "jinja2",
    "matplotlib",
    "cv2",
    "fastapi",
    "starlette",
    "uvicorn",
    "prometheus_client",
    "multipart",
    "python_multipart",
    "onnxruntime_ep_nv_tensorrt_rtx",
    "onnxruntime_ep_openvino",
    "onnxruntime_ep_webgpu",
]
BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {heavy}:
            raise ModuleNotFoundError("blocked: " + name, name=name)
sys.meta_path.insert(0, Blocker())
"""


def run_blocked(code: str) -> None:
    script = BLOCKER.format(heavy=HEAVY) + code
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]


def module_names(package: str) -> list[str]:
    root = SOURCES[package]
    names = [path.relative_to(root.parent).with_suffix("") for path in sorted(root.rglob("*.py"))]
    return [".".join(name.parts).removesuffix(".__init__") for name in names if name.name != "__main__"]


def test_all_of_the_runtime_imports_without_numpy_and_torch() -> None:
    names = module_names("compactor_runtimes")
    assert len(names) > 15
    run_blocked(f"import importlib\nfor name in {names}: importlib.import_module(name)\n")


def test_import_compactor_and_every_help_load_nothing_heavy() -> None:
    from compactor.cli import COMMANDS

    lines = ["import compactor, compactor_exporters, compactor_runtimes", "from compactor.cli import cli"]
    for arguments in [
        ["--help"],
        *([name, "--help"] for name in COMMANDS),
        ["recipes"],
        ["schema"],
        ["doctor"],
    ]:
        lines.append(f"assert not cli.main({arguments}, standalone_mode=False)")
    run_blocked("\n".join(lines))


def test_methods_are_told_without_anything_heavy() -> None:
    calls = [
        f"assert not cli.main({words}, standalone_mode=False)" for words in (["methods"], ["methods", "kd"])
    ]
    run_blocked("\n".join(["from compactor.cli import cli", *calls]))


def test_import_compactor_loads_no_other_package() -> None:
    code = "import sys, compactor; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert {name for name in done.stdout.split() if name not in sys.stdlib_module_names} <= {
        "compactor",
        "__main__",
    }


def test_a_missing_extra_names_the_command() -> None:
    code = (
        "from compactor.cli import main\nimport sys\nsys.argv = ['compactor', 'run', 'digits']\n"
        "try: main()\nexcept SystemExit as stop: assert stop.code == 6, stop.code\n"
        "else: raise AssertionError\n"
    )
    script = BLOCKER.format(heavy=HEAVY) + code
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "pip install 'compactor-toolkit[train]'" in done.stderr


def third_party_imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return {name for name in found if name not in sys.stdlib_module_names and name not in SOURCES}


def extras() -> dict[str, set[str]]:
    """Packages of each extra, with those that it takes from another one."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    raw = project["optional-dependencies"]
    found = {}
    for name, requirements in raw.items():
        packages = set()
        for requirement in requirements:
            bare, _, asked = requirement.split(">")[0].split("=")[0].partition("[")
            inner = asked.rstrip("]").split(",") if bare == "compactor-toolkit" else []
            packages |= {other.split(">")[0] for one in inner for other in raw[one]} or {bare}
        found[name] = packages
    return found


# which extras the code of a package may rely on
ALLOWED = {
    "compactor": ["train", "vision", "bench", "report", "pool", "ray", "slurm"],
    "compactor_exporters": ["export", "image"],
    "compactor_runtimes": [
        *("image", "text", "serve", "sign", "bench", "report", "openvino", "tensorrt", "tensorrt-rtx"),
        "objects",
        *("ort-ep-openvino", "ort-ep-tensorrt-rtx", "ort-ep-webgpu"),
    ],
}


@pytest.mark.parametrize("package", SOURCES)
def test_every_import_outside_the_base_belongs_to_an_extra_of_its_layer(package: str) -> None:
    known = extras()
    available = set().union(*(known[name] for name in ALLOWED[package]))
    for path in sorted(SOURCES[package].rglob("*.py")):
        for name in third_party_imports(path) - BASE:
            assert DISTRIBUTIONS.get(name, name) in available, (
                f"{path.name} imports {name}, which no extra of {package} brings"
            )


def test_needs_extra_names_an_extra_that_brings_the_package() -> None:
    """Every `with needs_extra("x"):` block imports only what extra x brings."""
    known, checked = extras(), 0
    for root in SOURCES.values():
        for path in root.rglob("*.py"):
            for node in ast.walk(tree_of(path)):
                if not isinstance(node, ast.With) or not isinstance(node.items[0].context_expr, ast.Call):
                    continue
                call = node.items[0].context_expr
                if not isinstance(call.func, ast.Name) or call.func.id != "needs_extra":
                    continue
                argument = call.args[0]
                assert isinstance(argument, ast.Constant), path
                inside = ast.unparse(ast.Module(node.body, []))
                names = {
                    alias.partition(".")[0]
                    for part in ast.walk(ast.parse(inside))
                    for alias in (
                        [item.name for item in part.names]
                        if isinstance(part, ast.Import)
                        else [part.module or ""]
                        if isinstance(part, ast.ImportFrom)
                        else []
                    )
                }
                for name in names - set(SOURCES) - set(sys.stdlib_module_names) - BASE:
                    checked += 1
                    assert DISTRIBUTIONS.get(name, name) in known[argument.value], f"{path}: {name}"
    assert checked > 10
