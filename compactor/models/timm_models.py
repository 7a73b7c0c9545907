"""Models of the timm library, with the input normalisation of their default configuration."""

from pathlib import Path
from typing import Any

from compactor.models.classifier import Backbone, require_images
from compactor.records import DataInfo
from compactor_runtimes.errors import UnfitEnvironmentError, UsageError, needs_extra
from compactor_runtimes.tables import nearest


def build(name: str, info: DataInfo, options: dict[str, Any], pretrained: bool, base: Path) -> Backbone:
    """Build `timm:NAME`; options go to `timm.create_model`.

    Raises:
        UsageError: timm knows no such model or option.
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
    try:
        module = timm.create_model(
            name, pretrained=pretrained, num_classes=info.num_classes(), in_chans=info.channels, **options
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
    return Backbone(module, mean, std)
