"""Reading Hugging Face folders and hub ids: remote code never runs, weights are safetensors only.

What transformers would only log (missing, unused or misshapen weights) is returned and judged by the caller.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from compactor.locate import locate_model
from compactor.models.hf.losses import import_losses
from compactor.models.problem_types import require_no_number, require_one_class
from compactor.records import DataInfo, has_several
from compactor_runtimes.errors import CompactorError, UnfitEnvironmentError, UsageError, needs_extra
from compactor_runtimes.tables import nearest

SAVED = "config"  # the option under which a saved model carries its whole configuration
POOLINGS = ("mean", "cls")
_FLAGS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
_STEPS = ("Transformer", "Pooling", "Normalize")  # normalising is the runtime's


@dataclass(frozen=True)
class Source:
    """Where a model comes from: its name in the recipe, and a folder or a hub id."""

    model: str
    folder: Path | None
    pretrained: bool

    @property
    def place(self) -> str:
        """What `from_pretrained` takes."""
        return str(self.folder or self.model.partition(":")[2])


@dataclass(frozen=True)
class Loaded:
    """A transformers model, and the names of its weights that the checkpoint lacks or has in another shape.

    `misshapen` maps a name to (shape in the checkpoint, shape in the model).
    """

    model: Any
    missing: list[str]
    misshapen: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]


def find_source(model: str, options: dict[str, Any], pretrained: bool, base: Path) -> Source:
    """Find the folder of `hf:ID_OR_PATH` or `package:IMPORT/RESOURCE`.

    A saved model needs none, because its options hold the configuration.

    Raises:
        UsageError: a folder or package is named that does not exist.
    """
    return Source(model, None if SAVED in options else locate_model(model, base), pretrained)


def read_config(source: Source, options: dict[str, Any]) -> Any:
    """Read a model's configuration, with `options` in place of its own values.

    Raises:
        UsageError: no configuration, or an option that it does not have.
        UnfitEnvironmentError: a hub id, and the hub cannot be reached.
    """
    with needs_extra("train"):
        from transformers import AutoConfig
    with readable(source):
        if SAVED in options:  # a model folder that stands alone
            saved = dict(options[SAVED])
            return AutoConfig.for_model(saved.pop("model_type"), **saved)
        config, unknown = AutoConfig.from_pretrained(
            source.place, trust_remote_code=False, return_unused_kwargs=True, **options
        )
    for key in unknown:
        raise UsageError(
            f"model {source.model}: options.{key}: its configuration has no such value; "
            f"{nearest(key, list(config.to_dict()))[:200]}"
        )
    return config


def load(auto_class: Any, source: Source, config: Any, **arguments: Any) -> Loaded:
    """Make a model of `auto_class` (in float32) with its own weights, or with random ones.

    Raises:
        UsageError: the folder is damaged, or the class does not know this kind of model.
        UnfitEnvironmentError: a hub id, and the hub cannot be reached.
    """
    import_losses()
    with readable(source):
        if not source.pretrained:
            model = auto_class.from_config(config, trust_remote_code=False, dtype=torch.float32, **arguments)
            return Loaded(model, [], {})
        with quiet(progress=source.folder is None):
            model, found = auto_class.from_pretrained(
                source.place,
                config=config,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # told by the returned record, and refused by the caller
                **arguments,
            )
    misshapen = {name: (tuple(theirs), tuple(ours)) for name, theirs, ours in found["mismatched_keys"]}
    return Loaded(model, sorted(found["missing_keys"]), dict(sorted(misshapen.items())))


def draw_head(loaded: Loaded) -> list[str]:
    """Draw what is above a model's encoder anew by torch's generator; return all weights that are random."""
    prefix = f"{loaded.model.base_model_prefix}."
    for path, module in loaded.model.named_modules():
        if path and not f"{path}.".startswith(prefix) and next(module.children(), None) is None:
            for weight in module.parameters():
                weight._is_hf_initialized = False  # else transformers keeps what it has loaded
            loaded.model._init_weights(module)
    names = (name for name, _ in loaded.model.named_parameters())
    return sorted({*loaded.missing, *(name for name in names if not name.startswith(prefix))})


def class_names_of(config: Any) -> list[str]:
    """The classes that a configuration names, in the order of the logits."""
    return [str(config.id2label[index]) for index in range(config.num_labels)]


def name_classes(config: Any, names: list[str]) -> None:
    """Let a configuration name these classes."""
    config.id2label = dict(enumerate(names))
    config.label2id = {name: index for index, name in enumerate(names)}


def require_classifier(source: Source, config: Any, info: DataInfo) -> None:
    """Refuse a trained classifier that answers something else than the task asks.

    Raises:
        UsageError: its configuration says so.
    """
    if source.pretrained:
        require = require_no_number if has_several(info.task) else require_one_class
        require(source.model, getattr(config, "problem_type", None))


def saved_config(model: Any) -> dict[str, Any]:
    """The configuration from which the same architecture is built again, without the folder it came from."""
    return {key: value for key, value in model.config.to_dict().items() if key != "_name_or_path"}


def folder_pooling(folder: Path, model: str) -> str:
    """Read how a sentence-transformers folder turns token states into one vector; `mean` for others.

    Raises:
        UsageError: it has steps after the encoder that are not built here, so its vectors would differ.
    """
    try:
        steps = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return POOLINGS[0]
    kinds = [step["type"].rpartition(".")[2] for step in steps]
    foreign = [kind for kind in kinds if kind not in _STEPS]
    if foreign:
        raise UsageError(
            f"model {model}: its modules.json has a step {foreign[0]}, known are {', '.join(_STEPS)}; "
            "set options.pooling to mean or cls to take the encoder without it"
        )
    path = next((step["path"] for step, kind in zip(steps, kinds, strict=True) if kind == "Pooling"), None)
    if path is None:
        return POOLINGS[0]
    config = json.loads((folder / path / "config.json").read_text(encoding="utf-8"))
    asked = [key for key, value in config.items() if key.startswith("pooling_mode_") and value is True]
    if len(asked) != 1 or asked[0] not in _FLAGS:
        raise UsageError(
            f"model {model}: its pooling is {', '.join(asked) or 'not declared'}, known are "
            f"{', '.join(_FLAGS)}; set options.pooling to mean or cls"
        )
    return _FLAGS[asked[0]]


@contextmanager
def readable(source: Source) -> Iterator[None]:
    """Say in one sentence what transformers could not read.

    Raises:
        UsageError: a local folder that is damaged or of an unknown kind.
        UnfitEnvironmentError: a hub id, and the hub cannot be reached.
    """
    try:
        yield
    except CompactorError:
        raise
    except OSError as error:
        if source.folder is not None:
            raise UsageError(
                f"model {source.model}: folder {source.folder} cannot be read ({_first_line(error)}); "
                "expected config.json and model.safetensors in it"
            ) from error
        raise UnfitEnvironmentError(
            f"model {source.model}: is no local folder and could not be downloaded; download config.json, "
            "model.safetensors, tokenizer.json (texts) and preprocessor_config.json (images) where there is "
            "internet and give the folder as hf:FOLDER"
        ) from error
    except (ValueError, RuntimeError) as error:
        raise UsageError(f"model {source.model}: cannot be built: {_first_line(error)}") from error


@contextmanager
def quiet(*, progress: bool) -> Iterator[None]:
    """Keep transformers' own report on missing and unused weights, and its bars unless `progress`, silent."""
    from transformers.utils import logging as transformers_logging

    logger = logging.getLogger("transformers.modeling_utils")

    def keep(record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()

    bars = transformers_logging.is_progress_bar_enabled() and not progress
    logger.addFilter(keep)
    if bars:
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logger.removeFilter(keep)
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")
