"""The records that pass between data, models, objectives, targets and trainer.

Letters in shapes: B batch, C classes, L tokens, P packed positions, V vocabulary. What a task's models answer
with are its heads (`heads_of`): code asks for a head's level and activation, not for a task by its name.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

from msgspec import UNSET, Meta, Struct, UnsetType

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

IGNORE = -100  # the label of a position without ground truth

# names of heads
LABEL, LABELS, INTENT, SLOT, EMBEDDING, MLM = "label", "labels", "intent", "slot", "embedding", "mlm"
# names of inputs, those that Hugging Face's models and their runtimes use
PIXELS, IDS, MASK, POSITIONS = "pixel_values", "input_ids", "attention_mask", "positions"
# names of features: what a linear layer makes a sample's logits of [B, D]; last hidden states [B, L, D];
# scores of a student's subclasses [B, C * S] before they are folded into its logits
PENULTIMATE, STATES, SUBCLASSES = "penultimate", "states", "subclasses"
# keys of Batch.aux: int64 [B, W], position of each word's first token, -1 for none; how views were mixed
FIRST, PARTNER, LAM = "first", "mix.partner", "mix.lam"

GAMMA = 0.1

Positive = Annotated[float, Meta(gt=0)]
NonNegative = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1)]
Schedule = Literal["cosine", "cosine-epochs", "step", "constant"]
Level = Literal["sample", "word", "token"]
Activation = Literal["softmax", "sigmoid", "none"]
# which classes a teacher has to know: all of the data's, some of them and no others, or any at all
TeacherClasses = Literal["all", "some", "any"]
# what computes a teacher's answers; the rows of `compactor.release.teacher_runtimes`, and `auto`
TeacherRuntimeName = Literal[
    "torch", "torch-bf16", "ort-fp32", "ort-int8", "openvino", "openvino-bf16", "auto"
]


@dataclass(frozen=True)
class Head:
    """One thing that a model says: of a sample, of each word of a text, or of some of a text's tokens.

    `activation` is what its numbers become: `softmax` one of the `labels`, `sigmoid` any number of them,
    `none` a vector, which means something only beside other vectors.
    """

    name: str
    level: Level
    activation: Activation
    labels: tuple[str, ...] = ()

    @property
    def output(self) -> str:
        """Name of the exported graph's output."""
        if self.activation == "none":
            return self.name
        return "logits" if self.name in (LABEL, LABELS) else f"{self.name}_logits"

    @property
    def is_labelled(self) -> bool:
        """Whether labels tell if it is right: not of vectors, nor of tokens, which the text itself tells."""
        return self.activation != "none" and self.level != "token"


# Every head by its name, which says its level and activation wherever it occurs
HEADS = {
    head.name: head
    for head in (
        Head(LABEL, "sample", "softmax"),
        Head(LABELS, "sample", "sigmoid"),
        Head(INTENT, "sample", "softmax"),
        Head(SLOT, "word", "softmax"),
        Head(EMBEDDING, "sample", "none"),
        Head(MLM, "token", "softmax"),
    )
}
# tasks that are asked for by name: where nobody names one, or in a message
IMAGES, TEXTS, VECTORS, MASKED = "image-classification", "text-classification", "embedding", "masked-lm"
IMAGE_SETS, TEXT_SETS = "image-multi-label", "text-multi-label"
# task -> its heads; headline metric, gates and paired tests read the first one
TASK_HEADS = {
    IMAGES: (LABEL,),
    TEXTS: (LABEL,),
    IMAGE_SETS: (LABELS,),
    TEXT_SETS: (LABELS,),
    VECTORS: (EMBEDDING,),
    MASKED: (MLM,),
    "intent-slots": (INTENT, SLOT),
    "token-classification": (SLOT,),
}


def heads_of(task: str) -> tuple[Head, ...]:
    """What a task's models answer with, the headline first, without labels."""
    return tuple(HEADS[name] for name in TASK_HEADS[task])


def head_at(heads: Iterable[Head], level: Level) -> Head | None:
    """The first head of a level; None where there is none."""
    return next((head for head in heads if head.level == level), None)


def activation_of(head: str) -> Activation:
    """What the numbers of a head become, by its name."""
    return HEADS[head].activation


def has_several(task: str) -> bool:
    """Whether any number of the data's labels may be true of a sample, which are read as a set then."""
    return heads_of(task)[0].activation == "sigmoid"


def reads_images(task: str) -> bool:
    """Whether a task's raw inputs are images; the others' are texts."""
    return task.startswith("image-")


@dataclass(frozen=True)
class Crops:
    """The recorded views of a batch: what to cut and whether to mirror it afterwards.

    `box` float32 [B, 4] = top, left, height, width as fractions of the stored image's sides (they may reach
    outside it where an augmentation pads); `flip` bool [B], applied after the cut; `index` int64 [B] says
    which stored view of its sample each one is, where a label store replays views.
    """

    box: "Tensor"
    flip: "Tensor"
    index: "Tensor | None" = None

    def part(self, rows: "slice | NDArray[np.int64]") -> "Crops":
        """The views of some rows of the batch."""
        return Crops(self.box[rows], self.flip[rows], None if self.index is None else self.index[rows])


@dataclass(frozen=True)
class Batch:
    """Model inputs (un-normalised), labels, stable sample ids, and how the views were cut.

    Images: `x["pixel_values"]` float32 [B, C, H, W] in [0, 1]. `mask` bool [B, L] marks the tokens that carry
    a label of their own (the first one of each word) for heads of tokens.
    """

    x: "dict[str, Tensor]"
    y: "dict[str, Tensor]"
    id: "Tensor"
    crop: Crops | None = None
    mask: "Tensor | None" = None
    aux: "dict[str, Tensor]" = field(default_factory=dict)

    def to(self, device: "torch.device") -> "Batch":
        """Move all tensors of x, y, id, mask and aux to `device` (boxes stay where they are recorded)."""
        return replace(
            self,
            x={name: value.to(device, non_blocking=True) for name, value in self.x.items()},
            y={name: value.to(device, non_blocking=True) for name, value in self.y.items()},
            id=self.id.to(device),
            mask=None if self.mask is None else self.mask.to(device),
            aux={name: value.to(device) for name, value in self.aux.items()},
        )

    @property
    def size(self) -> int:
        """Number of samples B."""
        return int(self.id.shape[0])


@dataclass(frozen=True)
class Outputs:
    """What a student or the mixed teachers said.

    `log_probs` is what the head's activation turns into the mean probabilities: of a softmax their logarithm
    log p, of a sigmoid their log-odds log p/(1-p), which alone hold both p and 1-p where one underflowed. It
    is kept so because a logarithm cannot be recovered from a probability of 0; it is None for a student,
    whose objectives read logits. `features` hold what objectives named.
    """

    logits: "dict[str, Tensor]"
    log_probs: "dict[str, Tensor] | None" = None
    features: "dict[str, Tensor]" = field(default_factory=dict)


@dataclass(frozen=True)
class Soft:
    """A soft target: dense (`log_p` [..., C]) or top-k (`ids`, `p` [..., k]; `tail` [...] is the mass left).

    The tail is spread evenly over the C - k other classes (FKD's marginal smoothing); a tail of 0 is
    re-normalisation. Of a sigmoid head it is always dense, and `log_p` are log-odds, as in `Outputs`.
    """

    log_p: "Tensor | None" = None
    ids: "Tensor | None" = None
    p: "Tensor | None" = None
    tail: "Tensor | None" = None

    def dense_log_p(self, num_classes: int) -> "Tensor":
        """Log-probabilities [..., C]; recovers a top-k target (a class without mass gets -inf)."""
        if self.log_p is not None:
            return self.log_p
        assert self.ids is not None
        assert self.p is not None
        assert self.tail is not None
        others = num_classes - self.ids.shape[-1]
        spread = (
            self.tail.clamp(min=0) / others if others else self.tail.new_zeros(self.tail.shape)
        ).unsqueeze(-1)
        dense = spread.expand(*self.ids.shape[:-1], num_classes).clone()
        return dense.scatter(-1, self.ids.long(), self.p.to(dense.dtype)).log()


@dataclass(frozen=True)
class Hard:
    """A target class for each item: int64 [B] or [B, L], or of a sigmoid 1 and 0 [B, C]; -100 ignored."""

    labels: "Tensor"


@dataclass(frozen=True)
class Target:
    """What the objectives pull the student towards, by head, with an optional weight >= 0 for each item.

    `unmixed` are the labels of the views before they were mixed, where stored labels were (mixing.py).
    """

    heads: Mapping[str, Soft | Hard] = field(default_factory=dict)
    unmixed: Mapping[str, Soft] | None = None
    weight: "Tensor | None" = None


@dataclass(frozen=True)
class Term:
    """One named loss before reduction: `loss` [B], [B, L] or [P]; `valid` marks the positions that count.

    The trainer reduces it to sum(weight * loss) / global number of valid positions.
    """

    loss: "Tensor"
    valid: "Tensor | None" = None


@dataclass(frozen=True)
class Step:
    """Where training stands: optimiser step of `steps`, epoch of `epochs` (both count from 0)."""

    step: int
    steps: int
    epoch: int
    epochs: float


@dataclass(frozen=True)
class Needs:
    """What an objective reads beside logits.

    `student` and `teacher` are names of features (`Student.features`; the teacher's make it need a live one),
    `option` the key of the stage that asks for them. `statistics` asks for one pass over the training samples
    before training starts.
    """

    student: frozenset[str] = frozenset()
    teacher: frozenset[str] = frozenset()
    option: str = "method"
    statistics: bool = False


@dataclass(frozen=True)
class DataInfo:
    """What a model must know of its data: label lists by head, the size of images, how texts are cut."""

    task: str
    classes: dict[str, list[str]]
    image: "ImageInfo | None" = None
    text: "TextInfo | None" = None
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def channels(self) -> int:
        """Channels of the images, 0 where there are none."""
        return self.image.channels if self.image else 0

    @property
    def heads(self) -> tuple[Head, ...]:
        """The task's heads with the data's labels."""
        return tuple(
            replace(head, labels=tuple(self.classes.get(head.name, ()))) for head in heads_of(self.task)
        )

    def num_classes(self, head: str | None = None) -> int:
        """Number of classes of a head, absent: of the task's first one."""
        return len(self.classes[head or heads_of(self.task)[0].name])


@dataclass(frozen=True)
class TextInfo:
    """Where the `tokenizer.json` lies, the id it pads with, and the tokens that a text is cut to.

    `kept` is set where the vocabulary was trimmed: a JSON list with the id that each of the tokenizer's ids
    had before, so that pretrained embeddings can be taken row by row; `made_from` is the whole tokenizer.
    """

    tokenizer: "Path"
    pad_id: int
    max_tokens: int
    kept: "Path | None" = None
    made_from: "Path | None" = None


@dataclass(frozen=True)
class ImageInfo:
    """Stored image size in pixels and channels (1 or 3)."""

    height: int
    width: int
    channels: int


class TeacherRan(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What computed a teacher's answers in the place of torch in fp32, and how far they are from its.

    `number` is its place among the teachers, `provider` what the runtime says of itself. `kl` is the mean of
    KL(torch || runtime) in nat and `agreement` the share of equal top classes, over `rows` select rows: of
    images, whole and as the stage cuts them, the worse ones, and so of several heads.
    """

    number: int
    teacher: str
    runtime: TeacherRuntimeName
    provider: str
    rows: int
    kl: float
    agreement: float

    @property
    def told(self) -> str:
        """In a few words, for people."""
        return (
            f"{self.teacher} ran on {self.runtime} ({self.provider}): mean KL {self.kl:.2g} nat from torch "
            f"in fp32, {100 * self.agreement:.2f}% the same top class, on {self.rows:,} select rows"
        )


class StopSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """End a stage when its select figure is flat.

    `figure` is one that the stage reports after each epoch, such as `loss` (lower is better) or `accuracy`
    (higher is better). It is flat when `patience` epochs in a row were not better than the best before by
    more than `min_delta`.
    """

    figure: str = "loss"
    patience: Count = 2
    min_delta: NonNegative = 0.0


class Training(Struct, frozen=True, kw_only=True):
    """How a student learns: for how long, with which optimiser, rate and schedule; a stage has it flat.

    `schedule: step` multiplies the learning rate by `gamma` at each epoch of `milestones` (counted from 0).
    `undecayed` are the weights that `weight_decay` leaves alone: `none`, those of normalisation layers
    (`norms`), or all vectors, which are norms and biases; absent = none with sgd, vectors with adamw.

    Of several processes: `sharding: fsdp2` divides the weights of the student and of live teachers, and the
    student's gradients and optimiser state, among them; absent, each holds all. `sync_batch_norm` lets
    BatchNorm see the batches of all of them (on GPUs).
    """

    epochs: Count | None = None
    steps: Count | None = None
    batch_size: Count = 128
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: Positive = 0.1
    momentum: NonNegative = 0.9
    nesterov: bool = False
    weight_decay: NonNegative = 5e-4
    undecayed: Literal["none", "norms", "vectors"] | UnsetType = UNSET  # as `StageSpec.sampler`
    schedule: Schedule = "cosine"
    milestones: list[Count] = []
    gamma: Positive = GAMMA
    warmup_epochs: NonNegative = 0.0
    clip_norm: Positive | None = None
    stop: StopSpec | None = None
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    sharding: Literal["fsdp2"] | UnsetType = UNSET
    sync_batch_norm: bool | UnsetType = UNSET


class Loader(Protocol):
    """What the training loop asks of a data loader."""

    def epoch(
        self,
        epoch: int,
        positions: "NDArray[np.int64]",
        *,
        start: int = 0,
        crops: "Callable[[NDArray[np.int64], int], Crops] | None" = None,
    ) -> Iterator[Batch]:
        """Yield this rank's part of every global batch from the `start`-th on."""

    def steps(self, n: int) -> int:
        """Number of global batches for n samples."""

    def __len__(self) -> int:
        """Number of samples."""
