"""What `store.json` holds, and the layout of one record; how labels are compressed is in quantization.py."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from compactor.data.spec import AugmentSpec, SplitName
from compactor.records import TeacherRan
from compactor_runtimes.errors import IntegrityError

if TYPE_CHECKING:
    import numpy as np

FORMAT = 1
STORE_FILE = "store.json"
UNFINISHED_FILE = "unfinished.json"  # in its place until all shards are there
REPLAY = 1  # version of how a recorded box becomes pixels (compactor/data/augment.py: apply_crops)

PayloadKind = Literal["full", "top-k", "hard"]
Count = Annotated[int, Meta(ge=1)]


class Payload(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a record holds of a distribution.

    `full`: C float32. `hard`: the id of the largest class. `top-k`: the ids of the k largest classes in
    descending order and k numbers: the mass of all others, then the probabilities of places 2 to k; place 1
    has what is left to 1.
    """

    kind: PayloadKind
    k: Count = 1
    probabilities: Literal["float16", "float32"] = "float16"


class Head(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A head's name, classes C and, for token tasks, positions L (0 = one label a sample)."""

    name: str
    num_classes: Count
    positions: int = 0


class Transform(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the teachers' inputs were made from the stored samples.

    Images: `augment`, the stored size (height, width, channels) and the version of the replay. Texts: the
    digest of the tokenizer and the tokens that a text is cut to.
    """

    augment: AugmentSpec | None = None
    image: tuple[int, int, int] | None = None
    replay: int = REPLAY
    tokenizer: str | None = None
    max_tokens: int | None = None


class Shard(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of records [rows, views]; its first row within the part."""

    file: str
    first: int
    rows: int
    sha256: str


class Part(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One split: `rows` samples of the source with digest `source`, `views` records each.

    `ids` is the file of the sample ids, int64 [rows] ascending, and `ids_sha256` its hash; `shard_rows` is
    how many rows a shard holds (the last one may hold fewer). `shards` lists what is finished.
    """

    split: SplitName
    rows: int
    views: Count
    source: str
    ids: str
    ids_sha256: str
    shard_rows: Count
    shards: list[Shard] = []


class CrossFit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which teacher labelled which training sample: teacher number i that of fold i, which it has not seen.

    `file` is that of the folds of the training samples, uint16 [rows] in the order of their ids, and `sha256`
    its hash; a sample of fold `folds` belongs to none and was labelled by all teachers. `rule` is how the
    samples were divided (compactor.data.folds).
    """

    folds: Annotated[int, Meta(ge=2)]
    rule: str
    file: str
    sha256: str


class Header(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that decides what the records say.

    `teachers` are recipe entries with digests in the place of weights, `data` is the data set as the recipe
    names it, `precision` that of the teachers' forwards.

    `mixer` is how several teachers' answers became one, absent of their mean. `runtimes` are those teachers
    whose answers were not computed by torch as it loaded them; absent where there are none. `cross_fit` says
    which of them labelled which training sample; absent where each was labelled by all. `threads` of the
    processor are what a torch teacher's forward takes, so that all who make shards round alike; absent where
    each process takes its own number.

    `boxes` says how a view's box is kept: `pixels`, int16 (top, left, height, width) in the stored image,
    which may reach outside it where an augmentation pads; `relative`, the same as float32 fractions; `none`
    for samples without views.
    """

    payload: Payload
    heads: list[Head]
    boxes: Literal["pixels", "relative", "none"]
    transform: Transform
    teachers: list[dict[str, Any]]
    classes: dict[str, list[str]]
    data: str
    seed: int
    precision: Literal["fp32", "bf16", "fp16"]
    versions: dict[str, str]
    source_digest: str
    parts: list[Part]
    format: int = FORMAT
    mixer: dict[str, Any] | UnsetType = UNSET
    runtimes: list[TeacherRan] | UnsetType = UNSET
    cross_fit: CrossFit | UnsetType = UNSET
    threads: Count | UnsetType = UNSET

    @property
    def views(self) -> int:
        """Recorded views of a training sample."""
        return next(part.views for part in self.parts if part.split == "train")

    @property
    def folds_file(self) -> list[str]:
        """Name of the file of the folds, none without."""
        return [] if isinstance(self.cross_fit, UnsetType) else [self.cross_fit.file]


def record_dtype(header: Header) -> "np.dtype[Any]":
    """Layout of one record, packed: [box, flip,] and for each head `<name>.ids` and `<name>.p`."""
    import numpy as np

    fields: list[tuple[Any, ...]] = []
    if header.boxes != "none":
        fields += [("box", "<i2" if header.boxes == "pixels" else "<f4", (4,)), ("flip", "?")]
    payload = header.payload
    for head in header.heads:
        lead = (head.positions,) if head.positions else ()
        if payload.kind == "full":
            fields.append((f"{head.name}.p", "<f4", (*lead, head.num_classes)))
            continue
        fields.append((f"{head.name}.ids", _id_dtype(head.num_classes), (*lead, payload.k)))
        if payload.kind == "top-k":
            p = "<f2" if payload.probabilities == "float16" else "<f4"
            fields.append((f"{head.name}.p", p, (*lead, payload.k)))
    return np.dtype(fields)


def read_header(folder: Path, file: str = STORE_FILE) -> Header:
    """Read the header alone.

    Raises:
        IntegrityError: it is missing, damaged or of another format, or a part of it is not whole.
    """
    path = folder / file
    if not path.is_file():
        raise IntegrityError(
            f"label store {folder}: has no {file}, so it was never finished; run `compactor label` again, it "
            "goes on where it was"
        )
    try:
        raw = msgspec.json.decode(path.read_bytes())
        found = raw.get("format") if isinstance(raw, dict) else None
        if found != FORMAT:
            raise IntegrityError(
                f"label store {path}: format {found!r} found, expected {FORMAT}; label again"
            )
        header = msgspec.convert(raw, Header)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise IntegrityError(f"label store {path}: is damaged ({error}); label again") from error
    if file == STORE_FILE:
        for part in header.parts:
            covered = [(shard.first, shard.rows) for shard in part.shards]
            expected = [
                (first, min(part.shard_rows, part.rows - first))
                for first in range(0, part.rows, part.shard_rows)
            ]
            if covered != expected:
                raise IntegrityError(
                    f"label store {path}: part {part.split} lists {len(covered)} shards, expected "
                    f"{len(expected)}; run `compactor label` again"
                )
    return header


def _id_dtype(num_classes: int) -> str:
    return "<u1" if num_classes <= 2**8 else "<u2" if num_classes <= 2**16 else "<u4"


def same_identity(a: Header, b: Header) -> bool:
    """Whether two headers describe the same store, whatever shards of it are finished."""
    return _identity(a) == _identity(b)


def _identity(header: Header) -> Header:
    bare = [msgspec.structs.replace(part, shards=[]) for part in header.parts]
    ran = header.runtimes
    if not isinstance(ran, UnsetType):  # how far they are from torch is measured on each machine anew
        ran = [msgspec.structs.replace(one, provider="", rows=0, kl=0.0, agreement=1.0) for one in ran]
    return msgspec.structs.replace(header, parts=bare, runtimes=ran)
