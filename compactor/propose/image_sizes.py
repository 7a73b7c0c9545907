"""The size of images that a student takes, where it takes one alone."""

from pathlib import Path

from compactor.propose.models import FOLDERS, Named
from compactor.records import IMAGES, LABEL, DataInfo, ImageInfo
from compactor_runtimes.errors import CompactorError


def only_size(student: Named, height: int, width: int) -> tuple[int, int] | None:
    """Height and width that a student takes instead of the given ones; None where it takes these.

    It is built with random weights and tried. What cannot be built here says so when it is planned.
    """
    from compactor.models.build import build_model
    from compactor.recipe.spec import ModelSpec

    if student.family not in ("timm", *FOLDERS):
        return None
    model = f"hf:{student.folder}" if student.folder else student.model
    info = DataInfo(IMAGES, {LABEL: ["0", "1"]}, ImageInfo(height, width, 3))
    try:
        built = build_model(ModelSpec(model=model, options=student.options), info, base=Path.cwd())
    except CompactorError:
        return None
    return getattr(built, "size", None)
