"""The students that text families are wrapped in: token ids in, what the heads of the task say out."""

import torch
from torch import Tensor

from compactor.models import TEACH_ONLY
from compactor.models.joint import EncoderWithHeads
from compactor.models.padding_check import require_unseen_padding
from compactor.models.student import port_of
from compactor.models.text import MAX_BATCH, TextBackbone, TextStudent, check_fits
from compactor.recipe.spec import ModelSpec
from compactor.records import EMBEDDING, IDS, MASK, MLM, POSITIONS, DataInfo
from compactor_runtimes.bundle.manifest import InputPort, OutputPort
from compactor_runtimes.errors import UsageError


class TextClassifier(TextStudent):
    """input_ids and attention_mask int64 [B, L] -> {"label" or "labels": logits [B, num_classes]}."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """Classify."""
        return {self.info.heads[0].name: self.backbone(input_ids, attention_mask)}


class TextEmbedder(TextStudent):
    """input_ids and attention_mask int64 [B, L] -> vectors [B, D], not normalised."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """Embed."""
        return {EMBEDDING: self.backbone(input_ids, attention_mask)}


class TextTagger(TextStudent):
    """input_ids and attention_mask int64 [B, L] -> {"intent": [B, C], "slot": [B, L, S]}, logits.

    Slots may come alone. They are BIO labels of every token; those of a word's first token count.
    """

    backbone: EncoderWithHeads

    def __init__(self, backbone: TextBackbone, info: DataInfo, vocab_size: int) -> None:
        """Wrap an encoder with the heads of `info`."""
        super().__init__(backbone, info, vocab_size)
        self.levels = {head.name: head.level for head in info.heads}

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """Tag and classify."""
        hidden = self.backbone.encoder(input_ids, attention_mask)
        answers = {}
        for name, level in self.levels.items():
            states = hidden if level == "word" else self.backbone.pooled(hidden, attention_mask)
            answers[name] = self.backbone.heads[name](states)
        return answers

    @property
    def outputs(self) -> list[OutputPort]:
        """Raw logits of each head."""
        leading: dict[str, list[str | int]] = {"word": ["batch", "tokens"], "sample": ["batch"]}
        return [port_of(head, [*leading[head.level], len(head.labels)]) for head in self.info.heads]


class MaskedLm(TextStudent):
    """input_ids and attention_mask [B, L], positions [P], all int64 -> {"mlm": logits [P, V]}.

    It teaches and is never shipped. Position b * L + l is token l of text b. States are gathered before they
    meet the vocabulary: all tokens of a batch of 64 x 128 times 150,000 words would take 4.9 GB.
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
        return [port_of(head, [POSITIONS, self.vocab_size]) for head in self.info.heads]

    def example(self, batch: int = 2) -> dict[str, Tensor]:
        """Texts of which every second token that is no padding is to be guessed."""
        found = super().example(batch)
        places = torch.nonzero(found[MASK].flatten()).flatten()[::2]
        return {IDS: found[IDS], MASK: found[MASK], POSITIONS: places}


def wrap_classifier(backbone: TextBackbone, spec: ModelSpec, info: DataInfo) -> TextClassifier:
    """Make the classifier.

    Raises:
        UsageError: model, tokenizer and classes do not fit together.
    """
    found = check_fits(backbone, spec, info)
    if backbone.width != info.num_classes():
        raise UsageError(
            f"model {spec.model}: gives {backbone.width} logits, the data has {info.num_classes()} classes; "
            "make it return one logit a class"
        )
    model = TextClassifier(backbone, info, found)
    _check(model, backbone, spec)
    return model


def wrap_embedder(backbone: TextBackbone, spec: ModelSpec, info: DataInfo) -> TextEmbedder:
    """Make the embedder.

    Raises:
        UsageError: model and tokenizer do not fit together.
    """
    model = TextEmbedder(backbone, info, check_fits(backbone, spec, info))
    _check(model, backbone, spec)
    return model


def wrap_tagger(backbone: TextBackbone, spec: ModelSpec, info: DataInfo) -> TextTagger:
    """Make the student of slots, with or without an intent.

    Raises:
        UsageError: model and tokenizer do not fit together.
    """
    assert isinstance(backbone.module, EncoderWithHeads)  # families without encoder and heads refuse the task
    model = TextTagger(backbone, info, check_fits(backbone, spec, info))
    _check(model, backbone, spec)
    return model


def wrap_masked_lm(backbone: TextBackbone, spec: ModelSpec, info: DataInfo) -> MaskedLm:
    """Make the student that guesses tokens.

    Raises:
        UsageError: model and tokenizer do not fit together.
    """
    assert isinstance(backbone.module, EncoderWithHeads)  # families without encoder and heads refuse the task
    return MaskedLm(backbone, info, check_fits(backbone, spec, info))


def _check(model: TextStudent, backbone: TextBackbone, spec: ModelSpec) -> None:
    """Refuse a trained model whose answers depend on padding."""
    if backbone.is_exact and (spec.weights is not None or spec.family in TEACH_ONLY):
        require_unseen_padding(model, spec)
