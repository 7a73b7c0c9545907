"""The table of runtimes: one row a name; each is opened by a file of this folder."""

from msgspec import Struct

from compactor_runtimes.errors import UsageError
from compactor_runtimes.tables import nearest


class Backend(Struct, frozen=True):
    """One runtime: how it is opened, and what it opens.

    Attributes:
        opener: "module:attr" of `(source: Path, *, threads: int | None, content: Contents | None, **options)
            -> Runtime`; of a `content` it reads nothing from the disk, for what was checked must be what is
            opened.
        probe: "module:attr" of `() -> str`, which says on what it would run here, or raises why it cannot.
        formats: formats of the artifacts that it opens.
        extra: the extra that brings its package.
        runs_fused: whether it knows ONNX Runtime's own operators (com.microsoft).
        needs_gpu: a verdict on it does not make it the default, for many machines have none.
        is_code: its files are code and are opened with the option `trust=True` alone.
        precision: number type that it computes floats in whatever the file says, such as "bf16": a variant
            that is used where it is asked for by name and nowhere else, and for which limits of the file's
            own numbers do not hold.
        choose: "module:attr" that chooses among an artifact's files; absent = the first is the one to open.
        operators: "module:attr" of `(source, feeds, *, threads, runs, **options) -> Operators`, which opens
            the file once more and times each operator; absent = it tells no such times.
    """

    opener: str
    formats: tuple[str, ...]
    extra: str
    probe: str
    runs_fused: bool = False
    needs_gpu: bool = False
    is_code: bool = False
    precision: str = ""
    choose: str | None = None
    operators: str | None = None


_PLACE = "compactor_runtimes.backends"
_FOR_THIS_GPU = f"{_PLACE}.tensorrt:file_for_this_gpu"

RUNTIMES = {
    "ort-cpu": Backend(
        f"{_PLACE}.ort:open_cpu",
        ("onnx",),
        extra="ort",
        probe=f"{_PLACE}.ort:probe_cpu",
        runs_fused=True,
        operators=f"{_PLACE}.ort_operators:operators_cpu",
    ),
    "ort-cuda": Backend(
        f"{_PLACE}.ort:open_cuda",
        ("onnx",),
        extra="ort-gpu",
        probe=f"{_PLACE}.ort:probe_cuda",
        runs_fused=True,
        needs_gpu=True,
        operators=f"{_PLACE}.ort_operators:operators_cuda",
    ),
    "openvino": Backend(
        f"{_PLACE}.openvino:open_openvino",
        ("onnx",),
        extra="openvino",
        probe=f"{_PLACE}.openvino:probe",
        operators=f"{_PLACE}.openvino_operators:operators",
    ),
    "openvino-bf16": Backend(
        f"{_PLACE}.openvino:open_openvino_bf16",
        ("onnx",),
        extra="openvino",
        probe=f"{_PLACE}.openvino:probe_bf16",
        precision="bf16",
        operators=f"{_PLACE}.openvino_operators:operators_bf16",
    ),
    "ort-openvino": Backend(
        f"{_PLACE}.plugin:open_openvino",
        ("onnx",),
        extra="ort-ep-openvino",
        probe=f"{_PLACE}.plugin:probe_openvino",
        operators=f"{_PLACE}.plugin:operators_openvino",
    ),
    "ort-tensorrt-rtx": Backend(
        f"{_PLACE}.plugin:open_tensorrt_rtx",
        ("onnx",),
        extra="ort-ep-tensorrt-rtx",
        probe=f"{_PLACE}.plugin:probe_tensorrt_rtx",
        needs_gpu=True,
        operators=f"{_PLACE}.plugin:operators_tensorrt_rtx",
    ),
    "ort-webgpu": Backend(
        f"{_PLACE}.plugin:open_webgpu",
        ("onnx",),
        extra="ort-ep-webgpu",
        probe=f"{_PLACE}.plugin:probe_webgpu",
        needs_gpu=True,
        operators=f"{_PLACE}.plugin:operators_webgpu",
    ),
    "tensorrt": Backend(
        f"{_PLACE}.tensorrt:open_tensorrt",
        ("tensorrt",),
        extra="tensorrt",
        probe=f"{_PLACE}.tensorrt:probe_tensorrt",
        needs_gpu=True,
        is_code=True,
        choose=_FOR_THIS_GPU,
    ),
    "tensorrt-rtx": Backend(
        f"{_PLACE}.tensorrt:open_tensorrt_rtx",
        ("tensorrt-rtx",),
        extra="tensorrt-rtx",
        probe=f"{_PLACE}.tensorrt:probe_tensorrt_rtx",
        needs_gpu=True,
        is_code=True,
        choose=_FOR_THIS_GPU,
    ),
}
"""Name of a runtime -> its row; the first that opens a format is that format's default."""


def find_runtime(name: str) -> Backend:
    """Return a row of the table.

    Raises:
        UsageError: there is no runtime of that name.
    """
    if name not in RUNTIMES:
        raise UsageError(f"unknown runtime {name!r}; {nearest(name, RUNTIMES)}")
    return RUNTIMES[name]
