"""Weights files and model folders: of other classes, with other names, pickled, damaged."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.input_cases.cases import Case, Refused

MODEL = "cifar:resnet8"
FEW, MANY = ["cat", "dog", "emu"], [f"class {number}" for number in range(1000)]


def information(classes: list[str], size: int = 16) -> Any:
    """Data of these classes."""
    from compactor.records import DataInfo, ImageInfo

    return DataInfo("image-classification", {"label": classes}, ImageInfo(size, size, 3))


def state(classes: list[str]) -> dict[str, Any]:
    """The weights of a small network for these classes."""
    from compactor.models.build import build_model
    from compactor.recipe.spec import ModelSpec

    model = build_model(ModelSpec(model=MODEL), information(classes), base=Path.cwd(), seed=1)
    return {name: value.contiguous() for name, value in model.backbone.state_dict().items()}


def loaded(
    folder: Path,
    *,
    of: list[str] = FEW,
    trains: bool = False,
    change: Callable[[dict[str, Any]], Mapping[str, Any]] = dict,
    model: str = MODEL,
) -> list[str]:
    """Load weights made for the classes `of` into a model for three; which weights are not the file's."""
    import torch
    from safetensors.torch import save_file

    from compactor.models.build import build_model
    from compactor.recipe.spec import ModelSpec

    given = state(of)
    save_file(dict(change(given)), folder / "x.safetensors")
    spec = ModelSpec(model=model, weights="x.safetensors")
    found = build_model(spec, information(FEW), base=folder, trains=trains)
    ours = found.backbone.state_dict()
    return sorted(name for name, value in ours.items() if not torch.equal(value, given[name]))


def other_file(folder: Path, *, name: str, content: bytes) -> None:
    """Name a file that is no safetensors file as the weights."""
    from compactor.models.build import build_model
    from compactor.recipe.spec import ModelSpec

    (folder / name).write_bytes(content)
    build_model(ModelSpec(model=MODEL, weights=name), information(FEW), base=folder)


def with_nan(given: dict[str, Any]) -> Mapping[str, Any]:
    """One value that is no number."""
    given["layer1.0.conv1.weight"][0, 0, 0, 0] = float("nan")
    return given


def prefixed(prefix: str) -> Callable[[dict[str, Any]], Mapping[str, Any]]:
    """All names with something before them."""
    return lambda given: {prefix + name: value for name, value in given.items()}


def _case(
    goes_in: str, wanted: Any, act: Callable[..., Any] = loaded, *, keeps: bool = False, **given: Any
) -> Case:
    return Case("weights", goes_in, wanted, partial(act, **given), keeps)


HEAD = ["linear.bias", "linear.weight"]
CASES = [
    _case("published for 1,000 classes, to be trained", HEAD, of=MANY, trains=True),
    _case(
        "published for 1,000 classes, to teach", Refused("1000 classes apart and the data have 3"), of=MANY
    ),
    _case("module. before every name", [], change=prefixed("module.")),
    _case("state_dict.module. before every name", [], change=prefixed("state_dict.module.")),
    _case("a prefix that nobody knows", Refused("of another architecture"), change=prefixed("net.")),
    _case("of a deeper network", Refused("of another architecture"), model="cifar:resnet14"),
    _case(
        "of a deeper network, to be trained",
        Refused("another architecture"),
        model="cifar:resnet14",
        trains=True,
    ),
    _case(
        "NaN in one weight",
        Refused(r"1 of 2,304 values of layer1\.0\.conv1\.weight are not finite"),
        change=with_nan,
    ),
    _case(
        "best.pth",
        Refused("is a pickled checkpoint, .* convert it once"),
        other_file,
        name="best.pth",
        content=b"\x80\x02.",
    ),
    _case(
        "pytorch_model.bin",
        Refused("is a pickled checkpoint"),
        other_file,
        name="pytorch_model.bin",
        content=b"PK",
    ),
    _case(
        "half a safetensors file",
        Refused("cannot be read as safetensors"),
        other_file,
        name="x.safetensors",
        content=b"\x10\0\0\0\0\0\0\0{",
    ),
    # what must go on working
    _case("for the data's number of classes", [], keeps=True),
    _case("for the data's number of classes, to be trained", [], keeps=True, trains=True),
]
