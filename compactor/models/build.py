"""From a model's recipe entry to a module with weights, and to and from a model folder on disk."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import msgspec
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from compactor.cache.folder import CONFIG, WEIGHTS
from compactor.data.class_names import ClassMatch, shown
from compactor.locate import locate
from compactor.models import FAMILIES, WRAPPERS
from compactor.models.class_order import put_in_order
from compactor.models.stated_classes import (
    NEW_HEAD,
    class_match,
    group_match,
    has_classes_of_a_sample,
    refuse_classes,
    stated_classes,
    with_classes,
)
from compactor.models.student import Student
from compactor.models.subclasses import widen
from compactor.models.weights_file import fill, head_rows, read_weights
from compactor.recipe.spec import ModelSpec
from compactor.records import DataInfo, ImageInfo, TeacherClasses, TextInfo
from compactor_runtimes.errors import IntegrityError, UsageError
from compactor_runtimes.files import write_whole, written_whole
from compactor_runtimes.tables import lookup

TOKENIZER = "tokenizer.json"
ENCODER = "encoder."  # how the weights of an encoder begin that several tasks can share


def build_model(
    spec: ModelSpec,
    info: DataInfo,
    *,
    base: Path,
    seed: int = 0,
    trains: bool = False,
    asked: TeacherClasses = "all",
) -> Student:
    """Build a model for a data set, with its weights or a random start that depends on `seed` alone.

    Args:
        spec: name, weights and normalisation.
        info: classes, and stored image size or tokenizer, of the data.
        base: folder that relative paths (of weights, of `hf:`) resolve against first.
        seed: seed of the random start.
        trains: it will be trained, and gets a new head where its own is for other classes.
        asked: which of the data's classes it has to know; it answers for those that it knows, or, where any
            will do, as it is.

    Raises:
        UsageError: an unknown model, a missing weights file, or weights that do not fit.
    """
    family, colon, name = spec.model.partition(":")
    if not colon:
        raise UsageError(f"model {spec.model!r}: expected FAMILY:NAME with a family of {', '.join(FAMILIES)}")
    build = lookup(FAMILIES, family, "model family")
    file = None
    if spec.weights not in (None, "pretrained"):
        assert spec.weights is not None
        file = locate(spec.weights, base, what=f"weights of {spec.model}")
    named = None if file is None or not has_classes_of_a_sample(info) else stated_classes(spec, base)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = build(name, with_classes(info, named), spec.options, spec.weights == "pretrained", base)
        classes = named if backbone.classes is None else backbone.classes
        match = None if classes is None else _matched(classes, spec, info, asked)
        if classes is not None and match is None and asked != "any":
            if not trains or (named is None and backbone.renewed is None):
                raise refuse_classes(classes, spec, info)
            backbone = (backbone.renewed or partial(build, name, info, spec.options, False, base))()
        own = info if match is None and asked != "any" else with_classes(info, classes)
        model: Student = lookup(WRAPPERS, info.task, "task")(backbone, spec, own)
        model.untrained = backbone.untrained
        if spec.subclasses is not None:
            fresh = widen(model, spec.subclasses, spec.model)
            model.untrained = [*model.untrained, *(fresh if spec.weights == "pretrained" else ())]
    if file is not None:
        new_head = head_rows(model, info, spec.subclasses or 1) if trains and match is None else frozenset()
        found = fill(model.backbone, model.backbone.state_dict(), read_weights(file), file, new_head=new_head)
        model.untrained, model.class_note = found.left_out, found.note
    if match is not None:
        known = with_classes(info, match.data) if asked == "some" else info
        put_in_order(model, match, known, spec.model)
    elif classes is not None and asked == "all":
        model.class_note = NEW_HEAD.format(shown(classes))
    return model


def _matched(classes: list[str], spec: ModelSpec, info: DataInfo, asked: TeacherClasses) -> ClassMatch | None:
    """Where the data's classes, or those that are asked of it, are among a model's."""
    if asked == "some":
        return group_match(classes, info, f"teacher {spec.model}", spec)
    return None if asked == "any" else class_match(classes, spec, info)


def load_weights(module: nn.Module, path: Path) -> None:
    """Load a safetensors file into a module, every key and shape.

    Raises:
        UsageError: the file is for another architecture, or no safetensors file.
    """
    fill(module, module.state_dict(), read_weights(path), path)


def load_encoder(backbone: nn.Module, path: Path) -> None:
    """Load the encoder of a model for another task, every key and shape; the heads stay as they are.

    Raises:
        UsageError: the file's encoder is of another architecture, or the backbone has none of its own.
    """

    def encoder(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {key: value for key, value in state.items() if key.startswith(ENCODER)}

    expected = encoder(backbone.state_dict())
    if not expected:
        raise UsageError(
            f"weights {path}: are of a model for another task, and {type(backbone).__name__} keeps no "
            "encoder apart from its head; name a model of family encoder:, or start from a stage of the "
            "same task"
        )
    fill(backbone, expected, encoder(read_weights(path)), path)


def save_model(model: Student, spec: ModelSpec, folder: Path) -> None:
    """Write model.safetensors (the backbone's keys, if any), config.json and, for texts, the tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {key: value.detach().cpu().contiguous() for key, value in model.backbone.state_dict().items()}
    if state:  # an exported teacher's weights stay in its bundle
        with written_whole(folder / WEIGHTS) as partial:
            save_file(state, partial, metadata={"format": "pt"})
    config = {
        "model": getattr(model.backbone, "saved_model", spec.model),
        "options": getattr(model.backbone, "saved_options", lambda: spec.options)(),
        **model.saved(),
        **({} if state or not spec.aliases else {"aliases": spec.aliases}),
        **({} if spec.subclasses is None else {"subclasses": spec.subclasses}),
        "task": model.info.task,
        "classes": model.info.classes,
        "image": msgspec.to_builtins(model.info.image),
    }
    text = model.info.text
    if text is not None:
        config["text"] = {"pad_id": text.pad_id, "max_tokens": text.max_tokens}
        if text.tokenizer.resolve() != (folder / TOKENIZER).resolve():
            write_whole(folder / TOKENIZER, text.tokenizer.read_bytes())
    write_whole(folder / CONFIG, (json.dumps(config, indent=1) + "\n").encode())


def saved_classes(folder: Path) -> dict[str, list[str]]:
    """The classes of a model folder, by head.

    Raises:
        IntegrityError: its configuration is missing or damaged.
    """
    try:
        found: dict[str, list[str]] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["classes"]
    except (OSError, ValueError, KeyError) as error:
        raise IntegrityError(
            f"model folder {folder}: {CONFIG} is missing or damaged ({error!r}); train it again"
        ) from error
    return found


def load_model_folder(folder: Path) -> Student:
    """Open a model folder that `save_model` wrote, or the student of a bundle.

    Raises:
        IntegrityError: a file is missing or damaged.
    """
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        image = ImageInfo(**config["image"]) if config["image"] else None
        text = TextInfo(_tokenizer(folder), **config["text"]) if "text" in config else None
        info = DataInfo(config["task"], config["classes"], image, text)
        kept = ("model", "options", "mean", "std", "image_size", "aliases", "subclasses")
        spec = ModelSpec(**{key: config[key] for key in kept if key in config})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IntegrityError(
            f"model folder {folder}: {CONFIG} is missing or damaged ({error!r}); train it again"
        ) from error
    model = build_model(spec, info, base=folder)
    if model.backbone.state_dict():
        load_weights(model.backbone, folder / WEIGHTS)
    return model.eval()


def _tokenizer(folder: Path) -> Path:
    """The tokenizer beside the model, or among the assets of the bundle that holds the folder.

    Raises:
        IntegrityError: there is none.
    """
    for path in (folder / TOKENIZER, folder.parent / "assets" / TOKENIZER):
        if path.is_file():
            return path
    raise IntegrityError(f"model folder {folder}: {TOKENIZER} is missing; train it again")
