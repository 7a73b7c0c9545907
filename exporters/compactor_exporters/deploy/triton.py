"""Target `triton`: a model repository for NVIDIA Triton, made of the manifest; Triton itself is not run here.

1. NAME is the graph alone, on Triton's ONNX Runtime: tensors in, tensors out, batched by the server.
2. NAME_raw is the whole bundle on its Python backend: raw bytes in, the answer as JSON out.
3. NAME_feeds is the bundle's preprocessing alone, and the ensemble NAME_ensemble puts it before NAME.
"""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from compactor_exporters.deploy.pbtxt import Tensor, render_ensemble, render_onnx, render_python
from compactor_exporters.deploy.served import serving_extras
from compactor_exporters.deploy.writing import Options, default_artifact, put, put_bundle, template, text_of
from compactor_runtimes.bundle.manifest import InputPort, OutputPort
from compactor_runtimes.bundle.open import Bundle
from compactor_runtimes.elsewhere.wheel import pack_wheel
from compactor_runtimes.errors import UsageError

RAW = Tensor("RAW", "TYPE_STRING", [1])
ANSWER = Tensor("ANSWER", "TYPE_STRING", [1])

_CODE = ".py"

TYPES = {
    "bool": "TYPE_BOOL",
    "float16": "TYPE_FP16",
    "bfloat16": "TYPE_BF16",
    "float32": "TYPE_FP32",
    "float64": "TYPE_FP64",
    **{f"int{bits}": f"TYPE_INT{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"TYPE_UINT{bits}" for bits in (8, 16, 32, 64)},
}
"""Type of a port -> Triton's name of it."""


def write(bundle: Bundle, folder: Path, options: Options) -> list[str]:
    """Write models/NAME, models/NAME_raw, models/NAME_feeds, models/NAME_ensemble, our wheel and a README.

    Raises:
        UsageError: the default artifact is an engine, or a graph of a fixed batch.
    """
    name, main = options.name, bundle.manifest.main
    batch = largest_batch(bundle)
    inputs, outputs = [tensor(port) for port in main.inputs], [tensor(port) for port in main.outputs]
    wheel = pack_wheel(folder)
    raw, feeds, ensemble = f"{name}_raw", f"{name}_feeds", f"{name}_ensemble"
    values = {
        "name": name,
        "wheel": wheel.name,
        "extra": serving_extras(bundle)[0],
        "batch": batch,
        "inputs": _listed(inputs),
        "outputs": _listed(outputs),
    }
    return [
        wheel.name,
        *_put_graph(bundle, folder, name),
        put(folder, f"models/{name}/config.pbtxt", render_onnx(name, batch, inputs, outputs)),
        *_put_python(bundle, folder, raw, "triton/raw_model.txt"),
        put(folder, f"models/{raw}/config.pbtxt", render_python(raw, batch, [RAW], [ANSWER])),
        *_put_python(bundle, folder, feeds, "triton/feeds_model.txt"),
        put(folder, f"models/{feeds}/config.pbtxt", render_python(feeds, batch, [RAW], inputs)),
        put(
            folder,
            f"models/{ensemble}/config.pbtxt",
            render_ensemble(
                ensemble, batch, RAW, outputs, steps=[(feeds, [RAW], inputs), (name, inputs, outputs)]
            ),
        ),
        put(folder, f"models/{ensemble}/1/.keep", ""),  # Triton wants a folder for each version
        put(folder, "README.md", template("triton/README.md", **values)),
    ]


def largest_batch(bundle: Bundle) -> int:
    """How many samples the graph takes at once.

    Raises:
        UsageError: its batch is fixed, so that nothing could be batched.
    """
    ports = bundle.manifest.main.inputs
    for port in ports:
        if isinstance(port.axes[0], int) or port.min[0] != 1:
            raise UsageError(
                f"{bundle.path}: input {port.name!r} takes batches of {port.min[0]} to {port.max[0]}, from "
                "1 on expected by Triton's batching; export it with a dynamic batch"
            )
    return min(port.max[0] for port in ports)


def tensor(port: InputPort | OutputPort) -> Tensor:
    """A port as Triton writes it: without the batch, -1 for what is free."""
    return Tensor(
        port.name, TYPES[port.dtype], [axis if isinstance(axis, int) else -1 for axis in port.axes[1:]]
    )


def _put_graph(bundle: Bundle, folder: Path, name: str) -> list[str]:
    """The default artifact's files; what its graph refers to keeps its name beside it."""
    artifact = default_artifact(bundle, "triton")
    written = []
    for entry in artifact.files:
        own = PurePosixPath(entry.path)
        called = "model.onnx" if own.suffix == ".onnx" else own.name
        written.append(put(folder, f"models/{name}/1/{called}", bundle.read(entry.path)))
    return written


def _put_python(bundle: Bundle, folder: Path, model: str, code: str) -> list[str]:
    """A model of the Python backend, with the bundle beside its code."""
    place = f"models/{model}/1"
    return [
        *put_bundle(bundle, folder, f"{place}/bundle"),
        put(folder, f"{place}/model{_CODE}", text_of(code)),
    ]


def _listed(tensors: Iterable[Tensor]) -> str:
    return ", ".join(f"`{each.name}` {each.type.removeprefix('TYPE_')} {each.dims}" for each in tensors)
