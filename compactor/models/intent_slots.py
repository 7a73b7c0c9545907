"""The student of `intent-slots` and `token-classification`: what a text asks for, and its tokens' slots."""

from torch import Tensor

from compactor.models.joint import EncoderWithHeads
from compactor.models.text import TextBackbone, TextStudent, check_fits
from compactor.recipe.spec import ModelSpec
from compactor.records import SLOT, DataInfo
from compactor_runtimes.bundle.manifest import OutputPort


class IntentSlots(TextStudent):
    """input_ids and attention_mask int64 [B, L] -> {"intent": [B, C], "slot": [B, L, S]}, logits.

    `token-classification` has slots alone. They are BIO labels of every token; those of a word's first token
    count.
    """

    backbone: EncoderWithHeads

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """Tag and classify."""
        hidden = self.backbone.encoder(input_ids, attention_mask)
        answers = {}
        for name, head in self.backbone.heads.items():
            answers[name] = head(hidden if name == SLOT else self.backbone.pooled(hidden, attention_mask))
        return answers

    @property
    def outputs(self) -> list[OutputPort]:
        """Raw logits of each head."""
        ports = []
        for head in self.backbone.heads:
            leading: list[str | int] = ["batch", "tokens"] if head == SLOT else ["batch"]
            axes = [*leading, self.info.num_classes(head)]
            ports.append(
                OutputPort(name=f"{head}_logits", dtype="float32", axes=axes, role="logits", labels=head)
            )
        return ports


def wrap(backbone: TextBackbone, spec: ModelSpec, info: DataInfo) -> IntentSlots:
    """Make the student.

    Raises:
        UsageError: model and tokenizer do not fit together.
    """
    assert isinstance(backbone.module, EncoderWithHeads)  # families without encoder and heads refuse the task
    return IntentSlots(backbone, info, check_fits(backbone, spec, info))
