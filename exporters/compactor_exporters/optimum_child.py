"""The other end of `onnx_optimum`, run by the Python of an environment that has optimum.

Takes the path of a request (JSON: model, task, opset, out, result), writes OUT/model.onnx and, once that is
done, the result (JSON: versions). It imports nothing of this package, which is not installed there.
"""

import json
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("optimum-onnx", "optimum", "transformers", "torch", "onnx")


def main(request: Path) -> None:
    """Let optimum export a model folder; our own verification judges the graph, so its own is left out."""
    asked = json.loads(request.read_text(encoding="utf-8"))
    # by name, because no extra of ours brings this package
    import_module("optimum.exporters.onnx").main_export(
        asked["model"],
        asked["out"],
        task=asked["task"],
        opset=asked["opset"],
        do_validation=False,
        local_files_only=True,
        trust_remote_code=False,
        library_name="transformers",
    )
    versions = {package: version(package) for package in PACKAGES}
    Path(asked["result"]).write_text(json.dumps({"versions": versions}), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
