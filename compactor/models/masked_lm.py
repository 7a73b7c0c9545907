"""The student of `task: masked-lm`: guess tokens at some positions. It teaches and is never shipped."""

import torch
from torch import Tensor

from compactor.models.joint import EncoderWithHeads
from compactor.models.text import MAX_BATCH, TextBackbone, TextStudent, check_fits
from compactor.recipe.spec import ModelSpec
from compactor.records import IDS, MASK, MLM, POSITIONS, DataInfo
from compactor_runtimes.bundle.manifest import InputPort, OutputPort


class MaskedLm(TextStudent):
    """input_ids and attention_mask [B, L], positions [P], all int64 -> {"mlm": logits [P, V]}.

    Position b * L + l is token l of text b. States are gathered before they meet the vocabulary: all tokens
    of a batch of 64 x 128 times 150,000 words would take 4.9 GB.
    """

    backbone: EncoderWithHeads

    def forward(self, input_ids: Tensor, attention_mask: Tensor, positions: Tensor) -> dict[str, Tensor]:
        """Guess."""
        hidden = self.backbone.encoder(input_ids, attention_mask)
        chosen = hidden.flatten(0, 1).index_select(0, positions)
        return {MLM: self.backbone.heads[MLM](chosen, self.backbone.encoder.words.weight)}

    @property
    def inputs(self) -> list[InputPort]:
        """Token ids, their mask, and the positions to guess."""
        most = MAX_BATCH * self.text.max_tokens
        places = InputPort(
            name=POSITIONS, dtype="int64", axes=[POSITIONS], min=[1], max=[most], role="tokens"
        )
        return [*super().inputs, places]

    @property
    def outputs(self) -> list[OutputPort]:
        """Raw logits over the vocabulary."""
        axes: list[str | int] = [POSITIONS, self.vocab_size]
        return [OutputPort(name=f"{MLM}_logits", dtype="float32", axes=axes, role="logits", labels=MLM)]

    def example(self, batch: int = 2) -> dict[str, Tensor]:
        """Texts of which every second token that is no padding is to be guessed."""
        found = super().example(batch)
        places = torch.nonzero(found[MASK].flatten()).flatten()[::2]
        return {IDS: found[IDS], MASK: found[MASK], POSITIONS: places}


def wrap(backbone: TextBackbone, spec: ModelSpec, info: DataInfo) -> MaskedLm:
    """Make the student.

    Raises:
        UsageError: model and tokenizer do not fit together.
    """
    assert isinstance(backbone.module, EncoderWithHeads)  # families without encoder and heads refuse the task
    return MaskedLm(backbone, info, check_fits(backbone, spec, info))
