"""Let optimum trace the student: another road to an fp32 graph, in another process and environment.

optimum needs an older transformers than we do, so it is never imported here; files carry the model there
(a Hugging Face folder) and the graph back.
1. The student must be one transformers classifier whose weights are all that the module holds.
2. The graph gets our ports: order of inputs, names of axes. Token types, which are no port, become zeros.
3. Numbers and fixed axes are never changed: `graph.check_ports` and `verify` judge what optimum made.
"""

import json
import os
import subprocess
from copy import deepcopy
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from compactor_exporters import optimum_child
from compactor_exporters.graph.checks import check_ports, check_weights
from compactor_exporters.idle_settings import refuse_idle
from compactor_exporters.onnx_fp32 import OPSET
from compactor_exporters.source import ExportSource
from compactor_exporters.workspace import Workspace
from compactor_runtimes.bundle.manifest import Artifact, ExportSpec, InputPort, OutputPort
from compactor_runtimes.bundle.open import file_entry
from compactor_runtimes.errors import NumericGateError, UnfitEnvironmentError, UsageError, needs_extra
from compactor_runtimes.files import write_whole, writing

if TYPE_CHECKING:
    import onnx

PYTHON = "COMPACTOR_OPTIMUM_PYTHON"
_USUAL = Path(".venv-optimum/bin/python")
_TIMEOUT_S = 900.0
# end of the model's class -> optimum's name of the task
_TASKS = {
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
}
_TOKEN_TYPES, _IDS = "token_type_ids", "input_ids"


def can_export(spec: ExportSpec) -> str | None:
    """Say what is missing on this machine, or which setting has no effect; None when nothing."""
    named = os.environ.get(PYTHON)
    if idle := refuse_idle(spec, "scheme", "calibration", "gpus"):
        return idle
    if _python().is_file():
        return None
    found = (
        f"{PYTHON} names {named}, which is no file" if named else f"neither {_USUAL} nor {PYTHON} is there"
    )
    return (
        f"optimum wants an environment of its own and {found}; make it with `make test-optimum`, or with "
        f"`python3 -m venv .venv-optimum && .venv-optimum/bin/pip install optimum-onnx onnxruntime`, or set "
        f"{PYTHON} to a Python that has optimum-onnx"
    )


def export(source: ExportSource, spec: ExportSpec, workspace: Workspace) -> Artifact:
    """Write `<spec.name>.onnx` into the workspace.

    Returns:
        The artifact with status "not-run".

    Raises:
        UnfitEnvironmentError: the student is not one transformers classifier, or optimum failed.
        NumericGateError: the graph's ports are not the student's.
    """
    with needs_extra("export"):
        import onnx

    student, task = _transformers_model(source)
    folder = workspace.folder
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="optimum-", dir=folder) as place:
        held, out = Path(place) / "model", Path(place) / "onnx"
        _save(student, held)
        result = Path(place) / "result.json"
        asked = {"model": held, "out": out, "result": result, "task": task, "opset": OPSET}
        found = _run(
            {name: str(value) if isinstance(value, Path) else value for name, value in asked.items()}
        )
        model = onnx.load(out / "model.onnx")
    _conform(model, source)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        first = str(error).strip().partition("\n")[0]
        raise NumericGateError(
            f"export of {spec.name!r}: optimum's graph is not valid ONNX ({first})"
        ) from error
    check_ports(model, source)
    onnx.helper.set_model_props(
        model, {"name": source.name, "task": source.task, "compactor": version("compactor-toolkit")}
    )
    path = folder / f"{spec.name}.onnx"
    with writing(path):
        onnx.save_model(model, path)
    return Artifact(
        name=spec.name,
        spec=spec,
        files=[file_entry(folder, f"{spec.name}.onnx")],
        status="not-run",
        made={
            "from": "student",
            "exporter": "optimum",
            "class": type(student).__name__,
            "opset": OPSET,
            "weights_as_trained": _holds_weights_as_trained(model, source),
            "versions": found["versions"],
        },
    )


def _python() -> Path:
    return Path(os.environ.get(PYTHON) or _USUAL)


def _transformers_model(source: ExportSource) -> tuple[Any, str]:
    """Rule 1: the transformers model inside the module, and optimum's name of its task."""
    models = [each for each in source.module.modules() if _is_transformers(each)]
    found = type(models[0]).__name__ if models else "no transformers model"
    task = next((task for end, task in _TASKS.items() if found.endswith(end)), None)
    extra: list[str] = []
    if models:
        own = {id(tensor) for tensor in [*models[0].parameters(), *models[0].buffers()]}
        held = [*source.module.named_parameters(), *source.module.named_buffers()]
        extra = [name for name, tensor in held if id(tensor) not in own]
    ports = [port.role for port in source.outputs]
    if task is None or extra or ports != ["logits"]:
        beside = f" with {', '.join(extra[:3])} outside of it" if extra else ""
        raise UnfitEnvironmentError(
            f"export of {source.name!r} by optimum: found {found}{beside} and outputs {ports}, expected one "
            f"transformers model of a class that ends in {' or '.join(_TASKS)} and nothing else; export this "
            "student without exporter: optimum"
        )
    return models[0], task


def _is_transformers(module: object) -> bool:
    """Asked by name, because transformers is no package that an exporter needs."""
    return any(
        (each.__module__, each.__name__) == ("transformers.modeling_utils", "PreTrainedModel")
        for each in type(module).__mro__
    )


def _save(model: Any, folder: Path) -> None:
    """Write a Hugging Face folder, without its bar, and leave the student's configuration as it was."""
    bars = import_module("transformers.utils.logging")  # loaded already, with the model
    shown, config = bars.is_progress_bar_enabled(), model.config
    model.config = deepcopy(config)
    bars.disable_progress_bar()
    try:
        with writing(folder):
            model.save_pretrained(folder)
    finally:
        model.config = config
        if shown:
            bars.enable_progress_bar()


def _run(asked: dict[str, Any]) -> dict[str, Any]:
    """Run the child.

    Raises:
        UnfitEnvironmentError: it failed, or took too long; the last line that it wrote says more.
    """
    result = Path(asked["result"])
    request = result.with_name("request.json")
    write_whole(request, json.dumps(asked).encode())
    # isolated: neither this package's folder nor PYTHONPATH may shadow what is installed there
    command = [str(_python()), "-I", optimum_child.__file__, str(request)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S)
        failed = None if result.is_file() and done.returncode == 0 else _last_line(done.stderr)
    except subprocess.TimeoutExpired:
        failed = f"not done after {_TIMEOUT_S:.0f} s"
    except OSError as error:
        failed = str(error)
    if failed is not None:
        raise UnfitEnvironmentError(
            f"export by optimum with {_python()}: {failed}; install optimum-onnx and onnxruntime there, or "
            "remove exporter: optimum from this entry"
        )
    answer: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return answer


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1].rstrip(".")


def _conform(model: "onnx.ModelProto", source: ExportSource) -> None:
    """Rule 2."""
    with needs_extra("export"):
        import onnx

    graph = model.graph
    names = [port.name for port in source.inputs]
    if _TOKEN_TYPES not in names and _TOKEN_TYPES in {value.name for value in graph.input} and _IDS in names:
        zero = onnx.helper.make_tensor("zero", onnx.TensorProto.INT64, [1], [0])
        shape = onnx.helper.make_node("Shape", [_IDS], ["token_types_shape"])
        zeros = onnx.helper.make_node("ConstantOfShape", ["token_types_shape"], [_TOKEN_TYPES], value=zero)
        nodes = [shape, zeros, *graph.node]
        del graph.node[:]
        graph.node.extend(nodes)
        kept = [value for value in graph.input if value.name != _TOKEN_TYPES]
        del graph.input[:]
        graph.input.extend(kept)
    place = {name: number for number, name in enumerate(names)}
    ordered = sorted(graph.input, key=lambda value: place.get(value.name, len(place)))
    del graph.input[:]
    graph.input.extend(ordered)
    del graph.value_info[:]  # it speaks of the axes by the names that they had; inference makes it again
    ports: list[InputPort | OutputPort] = [*source.inputs, *source.outputs]
    axes = {port.name: port.axes for port in ports}
    for value in [*graph.input, *graph.output]:
        for dim, axis in zip(value.type.tensor_type.shape.dim, axes.get(value.name, []), strict=False):
            if dim.HasField("dim_param") and isinstance(axis, str):  # rule 3: a frozen axis stays frozen
                dim.dim_param = axis


def _holds_weights_as_trained(model: "onnx.ModelProto", source: ExportSource) -> bool:
    """Whether each large constant is the student's own; not a condition, for folding makes new ones."""
    try:
        check_weights(model, source)
    except UsageError:
        return False
    return True
