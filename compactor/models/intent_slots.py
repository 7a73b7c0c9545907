"""The student of `task: intent-slots`: what a text asks for, and which slot each of its tokens belongs to."""

from torch import Tensor

from compactor.models.heads import INTENT, SLOT
from compactor.models.joint import EncoderWithHeads
from compactor.models.text import TextBackbone, TextStudent, check_fits
from compactor.recipe import ModelSpec
from compactor.records import DataInfo
from compactor_runtimes.manifest import OutputPort


class IntentSlots(TextStudent):
    """input_ids and attention_mask int64 [B, L] -> {"intent": [B, C], "slot": [B, L, S]}, logits.

    Slots are BIO labels of every token; those of a word's first token count.
    """

    backbone: EncoderWithHeads

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """Tag and classify."""
        hidden = self.backbone.encoder(input_ids, attention_mask)
        heads = self.backbone.heads
        return {
            INTENT: heads[INTENT](self.backbone.pooled(hidden, attention_mask)),
            SLOT: heads[SLOT](hidden),
        }

    @property
    def outputs(self) -> list[OutputPort]:
        """Raw logits of both heads."""
        axes: dict[str, list[str | int]] = {
            INTENT: ["batch", self.info.num_classes(INTENT)],
            SLOT: ["batch", "tokens", self.info.num_classes(SLOT)],
        }
        return [
            OutputPort(name=f"{head}_logits", dtype="float32", axes=axes[head], role="logits", labels=head)
            for head in axes
        ]


def wrap(backbone: TextBackbone, spec: ModelSpec, info: DataInfo) -> IntentSlots:
    """Make the student.

    Raises:
        UsageError: model and tokenizer do not fit together.
    """
    assert isinstance(backbone.module, EncoderWithHeads)  # families without encoder and heads refuse the task
    return IntentSlots(backbone, info, check_fits(backbone, spec, info))
