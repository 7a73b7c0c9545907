"""Which models `plan --sizes` measures: those that the user names, or siblings of the recipe's student."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from compactor.models import TEACH_ONLY
from compactor.propose.models import read_options
from compactor.recipe.spec import ModelSpec
from compactor.records import DataInfo
from compactor_runtimes.errors import UsageError, needs_extra

MOST_CANDIDATES = 8
MOST_TIMM_SIBLINGS = 6
CIFAR_DEPTHS = (8, 14, 20, 32)
CIFAR_WIDTHS = (8, 16, 32)
CIFAR_WIDTH = 16  # the family's own default
DEPTH = "num_hidden_layers"  # what transformers calls the depth of an encoder
LAYERS = "layers"  # our option: the numbers of the layers to keep
LAYER_COUNTS = (1, 2, 3, 4, 6)
SIZE_WORDS = ("atto", "femto", "pico", "zepto", "nano", "xtiny", "tiny", "small", "medium", "base", "large")
NOT_A_SIZE = ("patch", "window", "v")  # the number after these does not say how large a model is
RESOLUTIONS = range(128, 1025, 32)  # a last number of these is the size of the images, not of the model


def parse_candidate(text: str) -> ModelSpec:
    """Read `MODEL` or `MODEL?option=value&option2=value`, each value as YAML.

    Raises:
        UsageError: it is not of that form.
    """
    model, mark, query = text.partition("?")
    if model.partition(":")[0] in TEACH_ONLY:
        raise UsageError(f"--candidate {text!r}: is an exported model, which cannot learn; name another")
    options = read_options(query, f"--candidate {text!r}") if mark else {}
    return ModelSpec(model=model, options=options)


def display_name(spec: ModelSpec) -> str:
    """The form that `parse_candidate` reads; an option that holds a whole configuration is cut."""
    parts = []
    for key, value in spec.options.items():
        plain = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        text = "..." if isinstance(value, dict) else plain
        parts.append(f"{key}={text}")
    return spec.model + ("?" + "&".join(parts) if parts else "")


def default_ladder(student: ModelSpec, depth: Callable[[], int | None]) -> list[ModelSpec]:
    """Siblings of the student, itself not among them.

    Args:
        student: the recipe's student; normalisation is kept, weights must be absent.
        depth: builds the student at its full depth and tells its layers, None where they cannot be chosen.

    Raises:
        UsageError: its family has no obvious siblings.
    """
    family, _, name = student.model.partition(":")
    if family == "cifar":
        ladder = _cifar(student)
    elif family == "timm":
        ladder = [replace(student, model=f"timm:{other}") for other in timm_siblings(name)]
    else:
        ladder = _depths(student, depth() if family in ("hf", "package") else None)
    ladder = [spec for spec in ladder if spec != student][:MOST_CANDIDATES]
    if not ladder:
        raise UsageError(
            f"--sizes: nothing says which models are smaller or larger than {student.model!r}; name them, "
            f"for example {_example(student)}"
        )
    return ladder


def full_depth(student: ModelSpec, info: DataInfo, base: Path) -> int | None:
    """Layers of a transformers model as its configuration has them, None where it does not say."""
    with needs_extra("train"):
        from compactor.models.build import build_model
        from compactor.models.hf.source import SAVED

    options = {key: value for key, value in student.options.items() if key not in (DEPTH, LAYERS)}
    backbone: Any = build_model(replace(student, weights=None, options=options), info, base=base).backbone
    saved: dict[str, Any] = getattr(backbone, "saved_options", dict)()
    layers = saved.get(SAVED, {}).get(DEPTH)
    return layers if isinstance(layers, int) else None


def timm_siblings(name: str, known: Sequence[str] | None = None) -> list[str]:
    """Names of timm that differ from `name` in one number or one word of size, the nearest ones, small first.

    Args:
        name: without the tag of its weights, or with it.
        known: all names; absent = those that timm lists.
    """
    if known is None:
        with needs_extra("vision"):
            import timm
        known = timm.list_models()
    own = _tokens(name.partition(".")[0])
    found = [(order, other) for other in known if (order := _order(own, _tokens(other))) is not None]
    ordered = sorted(found)
    place = sum(order < 0 for order, _ in ordered)  # as many below as above, where there are
    first = min(max(place - MOST_TIMM_SIBLINGS // 2, 0), max(len(ordered) - MOST_TIMM_SIBLINGS, 0))
    return [other for _, other in ordered[first : first + MOST_TIMM_SIBLINGS]]


def _order(own: list[str], other: list[str]) -> int | None:
    """How much larger the other is, None where it differs in more than its size, or in nothing."""
    places = [k for k, (a, b) in enumerate(zip(own, other, strict=False)) if a != b]
    if len(own) != len(other) or len(places) != 1:
        return None
    place = places[0]
    a, b = own[place], other[place]
    if a in SIZE_WORDS and b in SIZE_WORDS:
        return SIZE_WORDS.index(b) - SIZE_WORDS.index(a)
    before = own[place - 1] if place else ""
    if not (a.isdecimal() and b.isdecimal()) or before in NOT_A_SIZE:
        return None
    if int(a) in RESOLUTIONS and int(b) in RESOLUTIONS:
        return None
    return int(b) - int(a)


def _tokens(name: str) -> list[str]:
    return re.findall(r"[a-z]+|\d+|[^a-z\d]+", name.lower())


def _cifar(student: ModelSpec) -> list[ModelSpec]:
    """Other depths at the student's width, then other widths at its depth."""
    width = student.options.get("width", CIFAR_WIDTH)
    depths = [replace(student, model=f"cifar:resnet{depth}") for depth in CIFAR_DEPTHS]
    widths = [
        replace(student, options={} if other == CIFAR_WIDTH else {"width": other})
        for other in CIFAR_WIDTHS
        if other != width
    ]
    return depths + widths


def _depths(student: ModelSpec, depth: int | None) -> list[ModelSpec]:
    """Fewer layers of the same encoder, evenly spread where the student names the ones that it keeps."""
    if depth is None:
        return []
    kept = student.options.get(LAYERS)
    own = len(kept) if isinstance(kept, list) else student.options.get(DEPTH, depth)
    ladder = []
    for count in LAYER_COUNTS:
        if count <= depth and count != own:
            spread = [round(number * (depth - 1) / max(count - 1, 1)) for number in range(count)]
            changed: dict[str, Any] = {DEPTH: count} if kept is None else {LAYERS: spread}
            ladder.append(replace(student, options=student.options | changed))
    return ladder


def _example(student: ModelSpec) -> str:
    if student.model.startswith("timm:"):
        return "--candidate timm:resnet18 --candidate timm:mobilenetv3_small_050"
    return f"--candidate '{student.model}?OPTION=VALUE' with the options that its code takes"
