"""The text embedder that every text encoder is wrapped in: token ids in, one vector a text."""

from torch import Tensor

from compactor.models.text import TextBackbone, TextStudent, check_fits
from compactor.recipe.spec import ModelSpec
from compactor.records import EMBEDDING, DataInfo
from compactor_runtimes.bundle.manifest import OutputPort


class TextEmbedder(TextStudent):
    """input_ids and attention_mask int64 [B, L] -> {"embedding": vectors [B, D]}, not normalised."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """Embed."""
        return {EMBEDDING: self.backbone(input_ids, attention_mask)}

    @property
    def outputs(self) -> list[OutputPort]:
        """The graph's one output; the runtime normalises it."""
        axes: list[str | int] = ["batch", self.width]
        return [OutputPort(name=EMBEDDING, dtype="float32", axes=axes, role="embedding")]


def wrap(backbone: TextBackbone, spec: ModelSpec, info: DataInfo) -> TextEmbedder:
    """Make the embedder.

    Raises:
        UsageError: model and tokenizer do not fit together.
    """
    return TextEmbedder(backbone, info, check_fits(backbone, spec, info))
