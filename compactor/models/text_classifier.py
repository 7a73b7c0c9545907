"""The text classifier that every text family is wrapped in: token ids in, one head of raw logits."""

from torch import Tensor

from compactor.models.text import TextBackbone, TextStudent, check_fits
from compactor.recipe.spec import ModelSpec
from compactor.records import DataInfo
from compactor_runtimes.bundle.manifest import OutputPort
from compactor_runtimes.errors import UsageError


class TextClassifier(TextStudent):
    """input_ids and attention_mask int64 [B, L] -> {"label": logits [B, num_classes]}."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """Classify."""
        return {"label": self.backbone(input_ids, attention_mask)}

    @property
    def outputs(self) -> list[OutputPort]:
        """The graph's one output: raw logits."""
        axes: list[str | int] = ["batch", self.width]
        return [OutputPort(name="logits", dtype="float32", axes=axes, role="logits", labels="label")]


def wrap(backbone: TextBackbone, spec: ModelSpec, info: DataInfo) -> TextClassifier:
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
    return TextClassifier(backbone, info, found)
