"""The bundle's manifest: typed, versioned records that the exporters write and the runtime reads.

Reading and checking of a bundle on disk is `bundle.py`; what the records mean is said here and nowhere else.
"""

from typing import Any, Literal

import msgspec
from msgspec import Struct

from compactor_runtimes.errors import IntegrityError

SCHEMA_VERSION = 1

Status = Literal["verified", "not-run", "rejected"]
Target = Literal["ort-cpu", "trt", "trt-rtx", "web"]


class Record(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all records here: frozen, keyword-only, strict about unknown keys."""


class FileEntry(Record, frozen=True):
    """One file of the bundle: POSIX path relative to the bundle, digest and size."""

    path: str
    sha256: str
    bytes: int


class InputPort(Record, frozen=True):
    """A graph input; `axes` names a dynamic axis and gives a fixed one as int; min/max bound each."""

    name: str
    dtype: str
    axes: list[str | int]
    min: list[int]
    max: list[int]
    role: Literal["image", "tokens", "mask", "state"]


class OutputPort(Record, frozen=True):
    """A graph output; `labels` is the key of the label list in `Manifest.labels`, absent for embeddings."""

    name: str
    dtype: str
    axes: list[str | int]
    role: Literal["logits", "embedding", "state"]
    labels: str | None = None


class ExportSpec(Record, frozen=True):
    """What to export: one entry of a recipe's `export` list."""

    format: Literal["onnx", "tensorrt", "tensorrt-rtx"] = "onnx"
    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    quantization: Literal["dynamic", "static"] | None = None
    parent: str | None = None
    target: Target = "ort-cpu"
    calibration: str | None = None
    gpus: list[str] = []
    required: bool = False

    @property
    def name(self) -> str:
        """A short file-safe name, unique among sensible specs: `fp32`, `int8-static`, `tensorrt-rtx-fp16`."""
        parts = [self.format if self.format != "onnx" else "", self.precision, self.quantization or ""]
        return "-".join(part for part in parts if part)


class Check(Record, frozen=True):
    """One check that was made: its verdict, the value found, the limit, and on how many samples or shapes."""

    name: str
    passed: bool
    value: float | None = None
    limit: float | None = None
    n: int | None = None
    detail: str = ""


class Artifact(Record, frozen=True):
    """One exported form of the student; `limits` is the largest allowed difference of each output."""

    name: str
    spec: ExportSpec
    files: list[FileEntry]
    status: Status
    checks: list[Check] = []
    limits: dict[str, float] = {}
    reason: str = ""


class Component(Record, frozen=True):
    """A graph interface and the artifacts that implement it."""

    inputs: list[InputPort]
    outputs: list[OutputPort]
    artifacts: list[Artifact]


class DecodeImage(Record, frozen=True, tag="decode-image"):
    """Read PNG/JPEG/WebP bytes (or take a uint8 array) to uint8 [height, width, channels]."""

    mode: Literal["RGB", "L"] = "RGB"


class Resize(Record, frozen=True, tag="resize"):
    """Resize so that the short side is `size` (keep aspect) or to exactly `size` x `size`."""

    size: int
    kind: Literal["short-side", "exact"] = "short-side"
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"


class CenterCrop(Record, frozen=True, tag="center-crop"):
    """Cut the central height x width."""

    height: int
    width: int


class ToFloat(Record, frozen=True, tag="to-float"):
    """uint8 [H, W, C] -> float32 [C, H, W] times `scale`; mean and std are inside the graph."""

    scale: float = 1 / 255


ImageStep = DecodeImage | Resize | CenterCrop | ToFloat


class ImagePre(Record, frozen=True, tag="image"):
    """Raw image -> the graph input `input`."""

    input: str
    steps: list[ImageStep]
    version: Literal[1] = 1


class TextPre(Record, frozen=True, tag="text"):
    """Raw text -> token ids int64 [B, L] in `ids` and a mask of ones and zeros in `mask`.

    `tokenizer` is the bundle's file for the `tokenizers` library, special tokens included. A text is cut to
    `max_tokens`; a batch is padded on the right with `pad_id` to its longest text.
    """

    tokenizer: str
    max_tokens: int
    pad_id: int
    ids: str = "input_ids"
    mask: str = "attention_mask"
    version: Literal[1] = 1


class SoftmaxPost(Record, frozen=True, tag="softmax"):
    """Logits of `output` -> label, index and probability."""

    output: str
    labels: str
    version: Literal[1] = 1


class EmbeddingPost(Record, frozen=True, tag="embedding"):
    """Embedding of `output` -> one vector, divided by its Euclidean length if `normalize`."""

    output: str
    normalize: bool = True
    version: Literal[1] = 1


Pre = ImagePre | TextPre
Post = SoftmaxPost | EmbeddingPost


class Golden(Record, frozen=True):
    """Where the golden cases lie: `cases` (JSON) and `tensors` (safetensors), both in `Manifest.files`."""

    cases: str
    tensors: str


class Manifest(Record, frozen=True):
    """Everything a process without torch needs to run, check and explain the bundle."""

    schema_version: int
    task: str
    name: str
    components: dict[str, Component]
    labels: dict[str, list[str]]
    pre: list[Pre]
    post: list[Post]
    files: list[FileEntry]
    golden: Golden
    default_artifact: str
    metrics: dict[str, Any] = {}
    provenance: dict[str, Any] = {}
    licences: dict[str, str] = {}

    @property
    def main(self) -> Component:
        """The one component of schema version 1."""
        return self.components["main"]


class GoldenCase(Record, frozen=True):
    """One golden case: raw input file, keys into the tensors file, and the decoded result.

    `tensors` maps a graph input name or output name to its key in the safetensors file.
    """

    id: str
    raw: str
    feeds: dict[str, str]
    outputs: dict[str, str]
    decoded: dict[str, Any]


def decode_manifest(text: bytes, *, where: str) -> Manifest:
    """Parse manifest JSON.

    Raises:
        IntegrityError: not JSON, another schema version, or fields that this version does not know.
    """
    try:
        version = msgspec.json.decode(text).get("schema_version")
    except (msgspec.DecodeError, UnicodeDecodeError, AttributeError) as error:
        raise IntegrityError(f"{where}: is not a bundle manifest ({error}); copy the bundle again") from error
    if version != SCHEMA_VERSION:
        raise IntegrityError(
            f"{where}: schema version {version!r} found, this release reads {SCHEMA_VERSION}; "
            "use the compactor-toolkit release that wrote the bundle, or export again"
        )
    try:
        manifest = msgspec.json.decode(text, type=Manifest)
    except msgspec.ValidationError as error:
        raise IntegrityError(f"{where}: {error}; the manifest is damaged, copy the bundle again") from error
    if set(manifest.components) != {"main"}:
        raise IntegrityError(
            f"{where}: components {sorted(manifest.components)} found, schema 1 allows 'main' alone"
        )
    return manifest


def encode_manifest(manifest: Manifest) -> bytes:
    """Render the manifest as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"
