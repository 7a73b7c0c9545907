"""Text models of Hugging Face transformers, for texts cut by their own tokenizer."""

from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from compactor.models.features import Feature
from compactor.models.heads import pool
from compactor.models.hf.source import (
    POOLINGS,
    SAVED,
    Loaded,
    Source,
    class_names_of,
    draw_head,
    folder_pooling,
    load,
    name_classes,
    read_config,
    require_classifier,
    saved_config,
)
from compactor.models.hf.trim import keep_layers, keep_tokens, position_count, trim_config
from compactor.models.joint import needs_states, with_heads
from compactor.models.text import TextBackbone, text_info_of
from compactor.records import STATES, DataInfo
from compactor_runtimes.errors import UsageError, needs_extra

ATTENTION = "attn_implementation"
EAGER = "eager"  # plain matrix products: every exporter and every profiler knows them
DROPOUT = 0.1  # where a configuration says nothing


class HfText(nn.Module):
    """What both kinds share: the wrapped model and the options that build it again."""

    def __init__(self, model: Any, **options: Any) -> None:
        """Wrap a transformers model; `options` are those beside its configuration."""
        super().__init__()
        self.model, self.options = model, options

    def saved_options(self) -> dict[str, Any]:
        """Options from which the same architecture is built again, without the folder it came from."""
        return {SAVED: saved_config(self.model), **self.options}


class HfTextClassifier(HfText):
    """A transformers sequence classifier whose forward returns plain logits."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Map token ids and mask [B, L] to logits [B, num_classes]."""
        logits: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
        return logits

    def rename_classes(self, names: list[str]) -> None:
        """Let the configuration say the classes of the head as it is now."""
        name_classes(self.model.config, names)


class HfTextEncoder(HfText):
    """A transformers encoder whose last hidden states are pooled into one vector a text."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Map token ids and mask [B, L] to the mean of its tokens, or the first one, [B, D]."""
        hidden: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return pool(hidden, attention_mask, self.options["pooling"])


def build_text_model(
    source: Source, info: DataInfo, options: dict[str, Any], *, renew: bool = False
) -> TextBackbone:
    """Build a classifier, for `task: embedding` an encoder, for other text tasks an encoder with new heads.

    A classifier has the classes that its weights tell apart; with `renew` a new head for the data's.

    Options `layers`, `pooling` (not for text-classification) and `attn_implementation` are ours; the others
    override the model's configuration.

    Raises:
        UsageError: an option that has no effect or no meaning, or weights that do not fit.
        UnfitEnvironmentError: it is no local folder and the hub cannot be reached.
    """
    if not renew and _tells_words(source, options, info):
        return _tagger(source, options, info)
    layers, pooling = options.get("layers"), options.get("pooling")
    attention = options.get(ATTENTION, EAGER)
    is_encoder = needs_states(info) or info.heads[0].activation == "none"
    if not is_encoder and pooling is not None:
        raise UsageError(f"model {source.model}: options.pooling has no effect for {info.task}; remove it")
    config = read_config(source, _of_config(source, options))
    if config.is_encoder_decoder:
        raise UsageError(
            f"model {source.model}: {config.model_type} is encoder and decoder, expected an encoder alone"
        )
    text = text_info_of(info)
    if not source.pretrained:
        trim_config(config, text)
    if config.pad_token_id is None:  # of models that answer by the last token that is no padding
        config.pad_token_id = text.pad_id
    own = {ATTENTION: attention}
    classes: list[str] | None = None
    if is_encoder:
        found = _encoder(source, config, attention)
        own["pooling"] = _pooling(source, pooling, info)
    elif renew:
        found = _new_head(source, config, attention, info)
    else:
        found, classes = _classifier(source, config, attention, info)
    keep_tokens(found.model, text, name=source.model)
    if layers is not None:
        keep_layers(found.model, layers, name=source.model)
    if needs_states(info):
        return with_heads(
            found.model,
            info,
            dropout=_head_dropout(config),
            pooling=own["pooling"],
            options={SAVED: saved_config(found.model), **own},
            pretrained=source.pretrained,
        )
    encoder = "model" if is_encoder else f"model.{found.model.base_model_prefix}"
    return TextBackbone(
        (HfTextEncoder if is_encoder else HfTextClassifier)(found.model, **own),
        width=config.hidden_size if is_encoder else found.model.config.num_labels,
        vocab_size=found.model.get_input_embeddings().num_embeddings,
        max_tokens=position_count(found.model),
        untrained=found.missing,
        features={STATES: Feature(encoder, config.hidden_size)},
        classes=classes,
        renewed=None if classes is None else lambda: build_text_model(source, info, options, renew=True),
    )


def _tells_words(source: Source, options: dict[str, Any], info: DataInfo) -> bool:
    """Whether a checkpoint has a trained head for words, and the task has no other head."""
    if not source.pretrained or [head.level for head in info.heads] != ["word"]:
        return False
    kinds = getattr(read_config(source, _of_config(source, options)), "architectures", None) or []
    return any("ForTokenClassification" in kind for kind in kinds)


def _of_config(source: Source, options: dict[str, Any]) -> dict[str, Any]:
    """The options that override the model's configuration.

    Raises:
        UsageError: two options set the depth.
    """
    if options.get("layers") is not None and "num_hidden_layers" in options:
        raise UsageError(
            f"model {source.model}: options.layers and options.num_hidden_layers both set the depth; keep one"
        )
    return {key: value for key, value in options.items() if key not in ("layers", "pooling", ATTENTION)}


def _tagger(source: Source, options: dict[str, Any], info: DataInfo) -> TextBackbone:
    """The encoder of a token classifier with its own head, whose classes are those of its configuration.

    Raises:
        UsageError: weights that are missing, or a head that is not one linear layer.
    """
    with needs_extra("train"):
        from transformers import AutoModelForTokenClassification
    config, text = read_config(source, _of_config(source, options)), text_info_of(info)
    attention = options.get(ATTENTION, EAGER)
    loaded = load(AutoModelForTokenClassification, source, config, attn_implementation=attention)
    head = getattr(loaded.model, "classifier", None)
    if not isinstance(head, nn.Linear):
        raise UsageError(
            f"model {source.model}: its head for words is {type(head).__name__}, expected one linear layer "
            "called classifier; name another model"
        )
    _refuse(
        source, [name for name in [*loaded.missing, *loaded.misshapen] if "pooler" not in name.split(".")]
    )
    keep_tokens(loaded.model, text, name=source.model)
    encoder = loaded.model.base_model
    if options.get("layers") is not None:
        keep_layers(encoder, options["layers"], name=source.model)
    classes = class_names_of(config)
    own = {ATTENTION: attention, "pooling": _pooling(source, options.get("pooling"), info)}
    found = with_heads(
        encoder,
        replace(info, classes=info.classes | {info.heads[0].name: classes}),
        dropout=_head_dropout(config),
        pooling=own["pooling"],
        options={SAVED: saved_config(encoder), **own},
        pretrained=True,
        trained={info.heads[0].name: head},
    )
    renewed = partial(build_text_model, source, info, options, renew=True)
    return replace(found, classes=classes, renewed=renewed)


def _head_dropout(config: Any) -> float:
    """What the configuration says of classifiers, else of hidden states."""
    named = (getattr(config, key, None) for key in ("classifier_dropout", "hidden_dropout_prob", "dropout"))
    return float(next((value for value in named if value is not None), DROPOUT))


def _encoder(source: Source, config: Any, attention: str) -> Loaded:
    """The bare encoder; every weight must come from the checkpoint."""
    with needs_extra("train"):
        from transformers import AutoModel
    loaded = load(AutoModel, source, config, attn_implementation=attention)
    if getattr(loaded.model, "pooler", None) is not None:
        loaded.model.pooler = None  # its output is not used, and its weights would be shipped
    missing = [name for name in loaded.missing if "pooler" not in name.split(".")]
    _refuse(source, [*missing, *loaded.misshapen])
    return Loaded(loaded.model, [], {})


def _classifier(
    source: Source, config: Any, attention: str, info: DataInfo
) -> tuple[Loaded, list[str] | None]:
    """The classifier and the names of its classes; without trained ones, with a head for the data's.

    Raises:
        UsageError: it says of several classes at once whether they apply.
    """
    with needs_extra("train"):
        from transformers import AutoModelForSequenceClassification
    require_classifier(source, config, info)
    if not source.pretrained:
        config.num_labels = info.num_classes()
    loaded = load(AutoModelForSequenceClassification, source, config, attn_implementation=attention)
    inner = _encoder_names(loaded)
    _refuse(source, [name for name in [*loaded.missing, *loaded.misshapen] if name in inner])
    if source.pretrained and not [name for name in [*loaded.missing, *loaded.misshapen] if name not in inner]:
        return loaded, class_names_of(config)
    if source.pretrained and config.num_labels != info.num_classes():  # an encoder: its head is new anyway
        config.num_labels = info.num_classes()
        loaded = load(AutoModelForSequenceClassification, source, config, attn_implementation=attention)
    return loaded, None


def _new_head(source: Source, config: Any, attention: str, info: DataInfo) -> Loaded:
    """The classifier with a new head, drawn from torch's generator, in the place of its own."""
    with needs_extra("train"):
        from transformers import AutoModelForSequenceClassification
    config.num_labels = info.num_classes()
    loaded = load(AutoModelForSequenceClassification, source, config, attn_implementation=attention)
    inner = _encoder_names(loaded)
    _refuse(source, [name for name in [*loaded.missing, *loaded.misshapen] if name in inner])
    return Loaded(loaded.model, draw_head(loaded), {})


def _encoder_names(loaded: Loaded) -> set[str]:
    """Names of the weights below the head; a pooler may be missing."""
    prefix = f"{loaded.model.base_model_prefix}."
    names = {*dict(loaded.model.named_parameters()), *loaded.missing, *loaded.misshapen}
    return {name for name in names if name.startswith(prefix) and "pooler" not in name.split(".")}


def _refuse(source: Source, unfit: list[str]) -> None:
    if unfit:
        raise UsageError(
            f"model {source.model}: its weights hold no {', '.join(unfit[:2])} of the model's shape "
            f"({len(unfit)} such weights); take the options back that change shapes, or leave weights out to "
            "start from random ones"
        )


def _pooling(source: Source, wanted: object, info: DataInfo) -> str:
    """The pooling asked for, else the folder's own, else the mean."""
    if wanted is None:
        return folder_pooling(source.folder, source.model) if source.folder else POOLINGS[0]
    known = (*POOLINGS, "max") if needs_states(info) else POOLINGS
    if wanted not in known:
        raise UsageError(
            f"model {source.model}: options.pooling: got {wanted!r}, expected {' or '.join(known)}"
        )
    return str(wanted)
