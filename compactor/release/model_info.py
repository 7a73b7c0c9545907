"""What a model itself says of its inputs and classes, for an export without data."""

from collections import Counter

from compactor.data.spec import DataSpec
from compactor.data.token_limits import read_json
from compactor.data.tokenizer import FILE, text_info
from compactor.models.problem_types import SEVERAL
from compactor.propose.models import FOLDERS, Named
from compactor.records import (
    IMAGE_SETS,
    IMAGES,
    LABEL,
    TEXT_SETS,
    TEXTS,
    VECTORS,
    DataInfo,
    ImageInfo,
    heads_of,
    reads_images,
)
from compactor_runtimes.errors import UsageError, needs_extra
from compactor_runtimes.tables import nearest

MAX_TOKENS = 128  # where a model does not say how many it takes
CIFAR_SIDE = 32
IMAGENET_CLASSES = 1000
GIVE_DATA = "give DATA, which says it"


def task_of(model: Named) -> str | None:
    """The task that a model is for; None where its name and configuration do not tell."""
    if model.family in ("cifar", "timm"):
        return IMAGES
    if model.family not in FOLDERS or model.folder is None:
        return None
    kinds = " ".join(model.config.get("architectures") or [])
    several = model.config.get("problem_type") == SEVERAL
    if "ForImageClassification" in kinds:
        return IMAGE_SETS if several else IMAGES
    if "ForSequenceClassification" in kinds:
        return TEXT_SETS if several else TEXTS
    # an encoder, with whatever head it was pre-trained with; other classifiers have no task here
    is_encoder = "Classification" not in kinds and "QuestionAnswering" not in kinds
    return VECTORS if is_encoder and (model.folder / FILE).is_file() else None


def info_of(model: Named, task: str | None) -> DataInfo:
    """Describe the data that a model takes.

    Args:
        model: as the command line names it.
        task: what the user wants it for; absent = what it is for.

    Raises:
        UsageError: the model is for another task, or does not say what it takes.
    """
    from compactor.tasks import TASKS

    if task is not None and task not in TASKS:
        raise UsageError(f"task {task!r}: there is no such task; {nearest(task, TASKS)}")
    own = task_of(model)
    if own is None:
        raise UsageError(
            f"model {model.model}: says neither its task nor the size of its inputs; {_way_out(model)}"
        )
    # a text classifier also is an encoder; nothing else has two uses
    if task not in (None, own) and (task != VECTORS or own not in (TEXTS, TEXT_SETS)):
        raise UsageError(
            f"--task {task}: model {model.model} is for {own}; leave --task out, or name another model"
        )
    task = task or own
    head = heads_of(task)[0].name if heads_of(task)[0].is_labelled else LABEL
    if reads_images(task):
        count = model.known.count or _usual_count(model)
        return DataInfo(task, {head: class_names(model, count)}, image=_image(model))
    tokens = model.max_tokens or MAX_TOKENS
    text = text_info(DataSpec(dataset="-", tokenizer=model.model, max_tokens=tokens), None)
    names = [] if task == VECTORS else class_names(model, model.known.count or 2)
    return DataInfo(task, {head: names}, text=text)


def class_names(model: Named, count: int) -> list[str]:
    """Names of the classes: the configuration's, ImageNet's for a thousand of timm, else `class 0` ..."""
    if model.known.names is not None:
        return model.known.names
    if model.family == "timm" and count == IMAGENET_CLASSES:
        with needs_extra("vision"):
            from timm.data.imagenet_info import ImageNetInfo
        known = ImageNetInfo("imagenet-1k")
        names = [known.index_to_description(index) for index in range(count)]
        often = Counter(names)  # two kinds of crane
        return [
            name if often[name] == 1 else f"{name} ({known.index_to_label_name(index)})"
            for index, name in enumerate(names)
        ]
    return [f"class {index}" for index in range(count)]


def _way_out(model: Named) -> str:
    if model.family in FOLDERS and model.folder is None:
        return "it is no local folder: download it and give hf:FOLDER, or give DATA"
    return GIVE_DATA


def _usual_count(model: Named) -> int:
    if model.family == "cifar":
        return 10
    if model.family == "timm":
        return IMAGENET_CLASSES
    raise UsageError(f"model {model.model}: does not say how many classes it has; {GIVE_DATA}")


def _image(model: Named) -> ImageInfo:
    """Height, width and channels of what an image model takes."""
    if model.family == "cifar":
        return ImageInfo(CIFAR_SIDE, CIFAR_SIDE, 3)
    if model.family == "timm":
        with needs_extra("vision"):
            import timm
        name = model.model.partition(":")[2]
        published = timm.get_pretrained_cfg(name) or timm.get_pretrained_cfg(name.partition(".")[0])
        channels, height, width = published.input_size if published else (3, 224, 224)
        return ImageInfo(height, width, int(model.options.get("in_chans", channels)))
    assert model.folder is not None
    prepared, config = read_json(model.folder / "preprocessor_config.json"), model.config
    size = prepared.get("crop_size") or prepared.get("size") or config.get("image_size")
    if isinstance(size, dict):
        size = (size.get("height"), size.get("width")) if "height" in size else size.get("shortest_edge")
    height, width = size if isinstance(size, list | tuple) else (size, size)
    if not isinstance(height, int) or not isinstance(width, int):
        raise UsageError(
            f"model {model.model}: neither config.json nor preprocessor_config.json says the size of its "
            f"images; {GIVE_DATA}"
        )
    return ImageInfo(height, width, int(config.get("num_channels") or 3))
