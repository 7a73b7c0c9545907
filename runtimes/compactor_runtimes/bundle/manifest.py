"""The bundle's manifest: typed, versioned records that the exporters write and the runtime reads.

Reading and checking of a bundle on disk is `open.py`; what the records mean is said here and nowhere else.
"""

from contextlib import suppress
from functools import reduce
from hashlib import sha256
from operator import getitem
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from compactor_runtimes.errors import IntegrityError, one_line

# 2 added how an artifact was made, its errors and overrides, 3 its runtimes, 4 what rejects an answer, where
# slots end, the step `cover` and any number of labels (`sigmoid`), 5 its own digest; all are read
SCHEMA_VERSION = 5
_READABLE = (1, 2, 3, 4, 5)
_WITH_DIGEST = 5

Status = Literal["verified", "overridden", "not-run", "rejected"]
Target = Literal["ort-cpu", "trt", "trt-rtx", "web"]

# fmt: off
NumberType = Literal[
    "float16", "float32", "float64", "bfloat16", "bool",
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
]
# fmt: on
Size = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Side = Annotated[int, Meta(ge=1, le=2**16)]
"""Of an image, in pixels."""


class Record(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all records here: frozen, keyword-only, strict about unknown keys."""


class FileEntry(Record, frozen=True):
    """One file of the bundle: POSIX path relative to the bundle, digest and size."""

    path: Annotated[str, Meta(max_length=1024)]
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    bytes: Annotated[int, Meta(ge=0)]


class InputPort(Record, frozen=True):
    """A graph input; `axes` names a dynamic axis and gives a fixed one as int; min/max bound each."""

    name: str
    dtype: NumberType
    axes: Annotated[list[str | Size], Meta(min_length=1)]
    min: list[Size]
    max: list[Size]
    role: Literal["image", "tokens", "mask", "state"]


class OutputPort(Record, frozen=True):
    """A graph output; `labels` is the key of the label list in `Manifest.labels`, absent for embeddings."""

    name: str
    dtype: NumberType
    axes: Annotated[list[str | Size], Meta(min_length=1)]
    role: Literal["logits", "embedding", "state"]
    labels: str | None = None


class Calibration(Record, frozen=True):
    """Real samples that set the ranges of static int8: how many of which split, and how ranges are taken."""

    split: Literal["train", "select"] = "train"
    samples: Annotated[int, Meta(ge=1)] = 256
    method: Literal["minmax", "entropy", "percentile"] = "minmax"


class ExportSpec(Record, frozen=True):
    """What to export: one entry of a recipe's `export` list.

    Every entry but the canonical one (onnx, fp32) is made from the canonical graph, which is traced once.
    `fused` asks for ONNX Runtime's own operators (com.microsoft). `exporter: optimum` lets optimum trace, in
    an environment of its own. `scheme` names the number types of int8, activations first; `auto` takes what
    is exact and fast on this CPU. `gpus` are the architectures that engines are built for. `override`, a
    reason in words, ships the artifact although a gate failed; it is kept in the manifest.
    """

    format: Literal["onnx", "tensorrt", "tensorrt-rtx"] = "onnx"
    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    quantization: Literal["dynamic", "static"] | None = None
    scheme: Literal["auto", "u8s8", "u8s8-reduced", "u8u8", "s8s8"] = "auto"
    fused: bool = False
    exporter: Literal["torch", "optimum"] = "torch"
    target: Target = "ort-cpu"
    calibration: Calibration | None = None
    gpus: list[str] = []
    required: bool = False
    override: Annotated[str, Meta(min_length=1)] | None = None

    @property
    def kind(self) -> str:
        """Which exporter makes it: `onnx/fp32`, `onnx/int8/static`, `onnx/int8/dynamic/fused`."""
        parts = [self.format, self.precision, self.quantization or "", "fused" if self.fused else ""]
        parts += [self.exporter if self.exporter != "torch" else ""]
        return "/".join(part for part in parts if part)

    @property
    def name(self) -> str:
        """A short file-safe name, unique among sensible specs: `fp32`, `int8-static`, `tensorrt-rtx-fp16`."""
        parts = self.kind.removeprefix("onnx/").split("/")
        parts += [self.target] if self.format == "onnx" and self.target != "ort-cpu" else []
        return "-".join(parts)


class Check(Record, frozen=True):
    """One check that was made: its verdict, the value found, the limit, and on how many samples or shapes.

    Where a bound is judged, `value` is the bound and `observed` what was seen on the samples.
    """

    name: str
    passed: bool
    value: float | None = None
    observed: float | None = None
    limit: float | None = None
    n: int | None = None
    detail: str = ""


class OutputErrors(Record, frozen=True):
    """How far one output is from the torch student's on `n` real samples.

    `maximum`, `mean` and `p99` are of absolute differences, `cosine` is the smallest of a sample, `snr_db`
    the ratio of signal to difference in power over all samples, `worst_sample` the number of the sample with
    the largest difference.
    """

    n: int
    maximum: float
    mean: float
    p99: float
    cosine: float
    snr_db: float | None
    worst_sample: int


class Artifact(Record, frozen=True):
    """One exported form of the student; `limits` is the largest allowed difference of each output.

    `made` says how it was made, JSON-ready: the graph that it comes from, options, digests of calibration
    samples, what was kept in another precision, versions. `errors` are the outputs' differences by name.
    `isa` lists the instruction sets of the CPU on which the verdict was reached, `runtimes` the runtimes by
    name on which it was found fit. Status "overridden": a gate failed and `spec.override` says why it is
    shipped all the same.
    """

    name: str
    spec: ExportSpec
    files: list[FileEntry]
    status: Status
    checks: list[Check] = []
    limits: dict[str, Annotated[float, Meta(ge=0, le=1e6)]] = {}
    reason: str = ""
    made: dict[str, Any] = {}
    errors: dict[str, OutputErrors] = {}
    isa: list[str] = []
    runtimes: list[str] = []

    @property
    def ships(self) -> bool:
        """Whether it may be loaded: verified, or overridden with a reason."""
        return self.status in ("verified", "overridden")


class Component(Record, frozen=True):
    """A graph interface and the artifacts that implement it."""

    inputs: list[InputPort]
    outputs: list[OutputPort]
    artifacts: list[Artifact]


class DecodeImage(Record, frozen=True, tag="decode-image"):
    """Read an image file's bytes (or take a uint8 array) to uint8 [height, width, channels], upright.

    The formats are those of `predict/decode.py`.
    """

    mode: Literal["RGB", "L"] = "RGB"


class Resize(Record, frozen=True, tag="resize"):
    """Resize so that the short side is `size` (keep aspect) or to exactly `size` x `size`."""

    size: Side
    kind: Literal["short-side", "exact"] = "short-side"
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"


class Cover(Record, frozen=True, tag="cover"):
    """Resize, keeping the aspect, to the smallest image that covers height x width."""

    height: Side
    width: Side
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"


class CenterCrop(Record, frozen=True, tag="center-crop"):
    """Cut the central height x width."""

    height: Side
    width: Side


class ToFloat(Record, frozen=True, tag="to-float"):
    """uint8 [H, W, C] -> float32 [C, H, W] times `scale`; mean and std are inside the graph."""

    scale: Annotated[float, Meta(gt=0, le=1)] = 1 / 255


ImageStep = DecodeImage | Resize | Cover | CenterCrop | ToFloat


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
    max_tokens: Annotated[int, Meta(ge=1, le=2**20)]
    pad_id: Annotated[int, Meta(ge=0, le=2**31 - 1)]
    ids: str = "input_ids"
    mask: str = "attention_mask"
    version: Literal[1] = 1


class SoftmaxPost(Record, frozen=True, tag="softmax"):
    """Logits of `output` -> label, index and probability.

    An answer is rejected if its probability lies below `reject_below`, or if it is the label `reject_label`,
    which means "none of these"; it keeps its label. Both are of all artifacts alike.
    """

    output: str
    labels: str
    reject_below: Annotated[float, Meta(ge=0, le=1)] | None = None
    reject_label: str | None = None
    version: Literal[1] = 1


class SigmoidPost(Record, frozen=True, tag="sigmoid"):
    """Logits of `output` -> any number of labels, each with a probability of its own.

    A label is answered if its probability reaches its threshold: `thresholds` are in the order of the labels,
    none at all means 0.5 for each. They are of all artifacts alike.
    """

    output: str
    labels: str
    thresholds: list[Annotated[float, Meta(ge=0, le=1)]] = []
    version: Literal[1] = 1


class EmbeddingPost(Record, frozen=True, tag="embedding"):
    """Embedding of `output` -> one vector, divided by its Euclidean length if `normalize`."""

    output: str
    normalize: bool = True
    version: Literal[1] = 1


class BioPost(Record, frozen=True, tag="bio"):
    """Logits [B, L, S] of `output`, one row a token -> slots with character offsets.

    The first token of a word (a run without white space) carries the word's BIO label; other tokens are not
    read. Adjacent words of one slot are one span. `punctuation` is what surrounds a span's words (quotes,
    brackets, a full stop): `kept` in its value, as bundles before version 4 have it, or `dropped`.
    """

    output: str
    labels: str
    punctuation: Literal["kept", "dropped"] = "kept"
    version: Literal[1] = 1


Pre = ImagePre | TextPre
Post = SoftmaxPost | SigmoidPost | EmbeddingPost | BioPost


class Golden(Record, frozen=True):
    """Where the golden cases lie: `cases` (JSON) and `tensors` (safetensors), both in `Manifest.files`."""

    cases: str
    tensors: str


class Manifest(Record, frozen=True):
    """Everything a process without torch needs to run, check and explain the bundle.

    In the file there is a `digest` besides: all that damage can hit has one here, and so has the manifest. It
    is the SHA-256 of the rest as compact JSON.
    """

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
        """The one component of all schema versions so far."""
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
        raw = msgspec.json.decode(text)
        version, said = raw.get("schema_version"), raw.pop("digest", None)
        found = digest_of_manifest(raw)
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise IntegrityError(
            f"{where}: is not a bundle manifest ({one_line(error)}); copy the bundle again"
        ) from error
    if version not in _READABLE:
        raise IntegrityError(
            f"{where}: schema version {version!r} found, this release reads "
            f"{_READABLE[0]} to {_READABLE[-1]}; "
            "use the compactor-toolkit release that wrote the bundle, or export again"
        )
    if version >= _WITH_DIGEST and said != found:
        raise IntegrityError(f"{where}: damaged, it is not what its own digest says; copy the bundle again")
    if version == 1:
        drop_parents(raw, "components", "main", "artifacts")
    try:
        manifest = msgspec.convert(raw, Manifest)
    except msgspec.ValidationError as error:
        raise IntegrityError(
            f"{where}: {one_line(error)}; the manifest is damaged, copy the bundle again"
        ) from error
    if set(manifest.components) != {"main"}:
        raise IntegrityError(
            f"{where}: components {sorted(manifest.components)} found, schema {version} allows 'main' alone"
        )
    return manifest


def drop_parents(raw: Any, *path: str) -> None:
    """Remove the field that version 1 wrote into each spec, always empty; damage elsewhere is told later.

    Args:
        raw: a manifest or a report as plain data; changed in place.
        path: keys that lead to its list of artifacts.
    """
    with suppress(KeyError, TypeError, AttributeError):
        for artifact in reduce(getitem, path, raw):
            artifact["spec"].pop("parent", None)


def encode_manifest(manifest: Manifest) -> bytes:
    """Render the manifest with its digest as indented JSON."""
    raw = msgspec.to_builtins(manifest)
    if manifest.schema_version >= _WITH_DIGEST:
        raw["digest"] = digest_of_manifest(raw)
    return msgspec.json.format(msgspec.json.encode(raw), indent=1) + b"\n"


def digest_of_manifest(raw: dict[str, Any]) -> str:
    """SHA-256 of a manifest as plain data, without its own digest."""
    return sha256(msgspec.json.encode(raw)).hexdigest()
