"""Models of the timm library, with the normalisation, image size and classes that their configuration states.

1. The published weights of an ImageNet classifier come with its classes (`published_classes`), which are
   then the data's in another order or some of them (`class_order.py`); a student that learns others gets a
   new head.
2. Of other published weights the head is new, unless it has as many classes as the data.
3. A model that does not take the data's images as they come resizes them to its own size.
4. Its feature maps are those that timm itself lists (`feature_info`): `stage1`, `stage2` and so on in that
   order, of which the first is often the stem.
"""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import nn

from compactor.data.class_names import folded
from compactor.models.classifier import Backbone, require_images
from compactor.models.features import Feature
from compactor.models.image_size import size_taken
from compactor.records import DataInfo
from compactor_runtimes.errors import UnfitEnvironmentError, UsageError, needs_extra
from compactor_runtimes.tables import nearest


def build(
    name: str,
    info: DataInfo,
    options: dict[str, Any],
    pretrained: bool,
    base: Path,
    *,
    renew: bool = False,
) -> Backbone:
    """Build `timm:NAME`; options go to `timm.create_model`. With `renew`, published weights get a new head.

    Raises:
        UsageError: timm knows no such model or option, or the model takes no images of the data's size.
        UnfitEnvironmentError: pretrained weights were asked for and could not be downloaded.
    """
    require_images(f"timm:{name}", info)
    with needs_extra("vision"):
        import timm
    bare = name.partition(".")[0]
    if not timm.is_model(bare):
        raise UsageError(
            f"model timm:{name}: timm {timm.__version__} has no such model; "
            f"{nearest(bare, timm.list_models())[:200]}"
        )
    published = _published(name, options)
    classes = published_classes(published, list(info.heads[0].labels)) if pretrained and not renew else None
    count = info.num_classes() if classes is None else len(classes)
    try:
        module = timm.create_model(
            name, pretrained=pretrained, num_classes=count, in_chans=info.channels, **options
        )
    except TypeError as error:
        raise UsageError(f"model timm:{name}: options {options} were refused: {error}") from error
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise UsageError(f"model timm:{name}: could not be built: {error}") from error
        raise UnfitEnvironmentError(
            f"model timm:{name}: its weights could not be downloaded ({type(error).__name__}); download its "
            "model.safetensors from the hub where there is internet and give it as weights: FILE.safetensors"
        ) from error
    config: Any = module.pretrained_cfg
    mean, std = list(config["mean"]), list(config["std"])
    if info.channels == 1:
        mean, std = [sum(mean) / len(mean)], [sum(std) / len(std)]
    is_new = pretrained and (renew or published.get("num_classes") != count)
    assert info.image is not None
    return Backbone(
        module,
        mean,
        std,
        untrained=_head(module) if is_new else [],
        size=size_taken(module, info.image, own_size(name, options), where=f"model timm:{name}"),
        classes=classes,
        maps=_maps(module),
        renewed=None if classes is None else lambda: build(name, info, options, pretrained, base, renew=True),
    )


def own_size(name: str, options: dict[str, Any]) -> int | tuple[int, int]:
    """Height and width of the images that a model was published for, or that its options ask for."""
    wanted: int | tuple[int, int] = options.get("img_size") or _published(name, options)["input_size"][1:]
    return wanted if isinstance(wanted, int) else (wanted[0], wanted[1])


def published_classes(published: dict[str, Any], ours: list[str]) -> list[str] | None:
    """Names of the classes of an ImageNet classifier: where the data have a class, as the data write it.

    A class may be written as its WordNet id (n01440764), as one of its words (tench; Tinca tinca) or as all
    of them. Else it is its first word, with the id behind it where two classes share that (crane).

    Args:
        published: the model's pretrained configuration.
        ours: the data's classes.

    Returns:
        None where its head is not one of an ImageNet set that timm knows.
    """
    with needs_extra("vision"):
        from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset
    subset = infer_imagenet_subset(published)
    if not subset:
        return None
    known: Any = ImageNetInfo(subset)
    ids, whole = known.label_names(), known.label_descriptions()
    words = [[word.strip() for word in one.split(",")] for one in whole]
    by_whole, by_word = _owners(zip(ids, whole, strict=True)), _owners(words)
    names = [
        first if len(by_word[folded(first)]) == 1 else f"{first} ({wordnet})"
        for wordnet, (first, *_) in zip(ids, words, strict=True)
    ]
    for name in ours:
        for owners in (by_whole, by_word):  # "maillot" is all of one class, and a word of another
            found = owners.get(folded(name), [])
            if len(found) == 1:
                names[found[0]] = name
                break
    return names


def _owners(spellings: Iterable[Iterable[str]]) -> dict[str, list[int]]:
    """Which classes each spelling may mean; each class has some."""
    owners: dict[str, list[int]] = defaultdict(list)
    for index, each in enumerate(spellings):
        for name in dict.fromkeys(map(folded, each)):
            owners[name].append(index)
    return owners


def _published(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """The pretrained configuration of a model, with what the options lay over it."""
    import timm

    found: Any = timm.get_pretrained_cfg(name) or timm.get_pretrained_cfg(name.partition(".")[0])
    plain: dict[str, Any] = found.to_dict() if found else {"input_size": (3, 224, 224)}
    return plain | dict(options.get("pretrained_cfg_overlay") or {})


def _maps(module: Any) -> dict[str, Feature]:
    """The feature maps that timm lists, a stage each; not every model lists any."""
    listed: Any = getattr(module, "feature_info", None) or []
    return {
        f"stage{number}": Feature(one["module"], one["num_chs"], is_map=True)
        for number, one in enumerate(listed, 1)
        if isinstance(one, dict)
    }


def _head(module: Any) -> list[str]:
    """Names of the weights of the last layer, or layers."""
    heads = module.get_classifier()
    parts = heads if isinstance(heads, tuple | list) else (heads,)
    fresh = {id(one) for part in parts if isinstance(part, nn.Module) for one in part.parameters()}
    return [name for name, one in module.named_parameters() if id(one) in fresh]
