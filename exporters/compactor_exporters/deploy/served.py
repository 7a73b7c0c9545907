"""What docker and systemd share: bundle, wheel and pinned packages, and how much memory to allow."""

from pathlib import Path

from compactor_exporters.deploy.requirements import PYTHON, machine, put_requirements
from compactor_exporters.deploy.writing import Options, default_artifact, put_bundle
from compactor_runtimes.bundle.manifest import TextPre
from compactor_runtimes.bundle.open import Bundle

PORT = 8000
_MIB = 1 << 20
_BASE_MIB = 768  # Python, the server, ONNX Runtime and the images or texts of a few requests
_TIMES = 4  # a graph is read, hashed, optimised and laid out before the first copies are given back
_STEP_MIB = 256


def put_served(bundle: Bundle, folder: Path, target: str) -> list[str]:
    """Write `bundle/`, the wheel and `requirements.txt`.

    Raises:
        UsageError: see `default_artifact`.
        UnfitEnvironmentError: see `put_requirements`.
    """
    default_artifact(bundle, target)
    return [*put_requirements(folder, serving_extras(bundle)), *put_bundle(bundle, folder, "bundle")]


def template_values(bundle: Bundle, options: Options, target: str, *, unit: str) -> dict[str, object]:
    """What the templates of both name; `unit` is how the target writes MiB."""
    return {
        "name": options.name,
        "task": bundle.manifest.task,
        "python": PYTHON,
        "platform": machine(),
        "port": PORT,
        "memory": f"{memory_mib(bundle, target)}{unit}",
    }


def serving_extras(bundle: Bundle) -> list[str]:
    """The extras that serving this bundle takes."""
    text = any(isinstance(pre, TextPre) for pre in bundle.manifest.pre)
    return ["text" if text else "image", "serve"]


def memory_mib(bundle: Bundle, target: str) -> int:
    """A limit of memory in MiB that a server of this bundle should not reach; a rule of thumb."""
    weights = sum(entry.bytes for entry in default_artifact(bundle, target).files)
    needed = _BASE_MIB + _TIMES * weights / _MIB
    return int(-(-needed // _STEP_MIB)) * _STEP_MIB
