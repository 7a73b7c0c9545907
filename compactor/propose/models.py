"""A model as the command line names it, `MODEL[?OPTION=VALUE][@WEIGHTS]`, and what its files say."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from compactor.data.token_limits import own_max_tokens
from compactor.models import TEACH_ONLY
from compactor.propose.paths import path_in_recipe
from compactor.propose.weights import Known, classes_of_config, classes_of_file
from compactor_runtimes.bundle.manifest import TextPre
from compactor_runtimes.bundle.open import open_bundle
from compactor_runtimes.errors import UsageError, needs_extra
from compactor_runtimes.tables import nearest

PRETRAINED = "pretrained"
NONE = "-"
LAYERS = ("num_hidden_layers", "n_layers", "num_layers")  # what configurations call their depth
# families whose models are folders with a config.json, and so may hold weights of their own
FOLDERS = ("hf", "package")


@dataclass(frozen=True)
class Named:
    """One model: how the recipe names it and its weights, its folder where it is local, and its classes.

    `max_tokens` of a text it takes, None where that is not said (or it takes images).
    """

    model: str
    weights: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    known: Known = Known()
    max_tokens: int | None = None

    @property
    def family(self) -> str:
        """`hf` of `hf:NAME`."""
        return self.model.partition(":")[0]

    @property
    def short(self) -> str:
        """A word for file names: the last part of the name."""
        words = re.split(r"[/:]", self.model.rstrip("/"))
        if words[-1] in {"model", "student"} and len(words) > 2:
            words.pop()
        return re.sub(r"[^A-Za-z0-9._-]+", "-", words[-1]).strip("-._") or self.family

    @property
    def config(self) -> dict[str, Any]:
        """Its config.json, empty where there is none."""
        return _read_config(self.folder) if self.folder else {}

    @property
    def is_classifier(self) -> bool:
        """Whether its own weights end in classes rather than in features."""
        return self.known.count is not None

    @property
    def depth(self) -> tuple[str, int] | None:
        """Key and number of layers of a transformer whose configuration is at hand."""
        config = self.config
        return next(((key, config[key]) for key in LAYERS if isinstance(config.get(key), int)), None)


def split_teachers(text: str) -> list[str]:
    """Split `A+B@WEIGHTS` where a new FAMILY: begins; `-` is nobody."""
    return [] if text == NONE else re.split(r"\+(?=[A-Za-z]+:)", text)


def read_model(text: str, *, base: Path | None, weights: str | None = None, role: str) -> Named:
    """Understand `MODEL[?OPTION=VALUE&...][@WEIGHTS]`.

    Args:
        text: As typed.
        base: Folder of the recipe, for its paths (see path_in_recipe).
        weights: Weights given by an option.
        role: `teacher` or `student`, for messages.

    Raises:
        UsageError: an unknown family, a name that its family does not have, or weights that are not there.
        UnfitEnvironmentError: the package that holds the family is not installed.
    """
    from compactor.models import FAMILIES

    name, at, inline = text.rpartition("@") if "@" in text else (text, "", "")
    if inline and weights:
        raise UsageError(
            f"{role} {name}: weights are given twice ({inline} and {weights}); keep one of the two"
        )
    if at and not inline:
        raise UsageError(f"{role} {text}: nothing follows @; give a safetensors file, or {PRETRAINED}")
    name, _, query = name.partition("?")
    family, colon, rest = name.partition(":")
    if not colon or not rest:
        raise UsageError(
            f"{role} {name!r}: expected FAMILY:NAME, such as cifar:resnet8, with a family of "
            f"{', '.join(FAMILIES)}"
        )
    if family not in FAMILIES:
        raise UsageError(f"{role} {name!r}: unknown model family {family!r}; {nearest(family, FAMILIES)}")
    model = CHECKS.get(family, _unchecked)(name, rest, base, role)
    if query:
        model = replace(model, options=read_options(query, f"{role} {name}"))
    return _with_weights(model, inline or weights, base, role)


def read_options(query: str, where: str) -> dict[str, Any]:
    """Read `option=value&option2=value`, each value as YAML; `where` opens the message.

    Raises:
        UsageError: it is not of that form.
    """
    options: dict[str, Any] = {}
    for part in query.split("&"):
        key, equals, value = part.partition("=")
        if not key or not equals:
            raise UsageError(
                f"{where}: found option {part!r}, expected MODEL?option=value&option2=value, for example "
                "'cifar:resnet20?width=8' (in quotes, because of the shell)"
            )
        try:
            options[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UsageError(
                f"{where}: the value of {key!r} is not YAML; write a number or a word"
            ) from error
    return options


def _with_weights(model: Named, weights: str | None, base: Path | None, role: str) -> Named:
    if weights is None:
        return model
    if model.family in TEACH_ONLY:
        raise UsageError(f"{role} {model.model}: has its weights, {weights} found as well; leave these out")
    if weights == PRETRAINED:
        if model.family in ("cifar", "module"):
            raise UsageError(
                f"{role} {model.model}: family {model.family} has no weights of its own; give a safetensors "
                "file, or no weights to train it first"
            )
        return replace(model, weights=PRETRAINED)
    written, path = path_in_recipe(weights, base, what=f"weights of {role} {model.model}")
    known = classes_of_file(path)
    if model.family in FOLDERS and known.count in (None, model.known.count):
        known = model.known  # its configuration also has the names
    return replace(model, weights=written, known=known)


def _unchecked(name: str, rest: str, base: Path | None, role: str) -> Named:
    return Named(name)


def _cifar(name: str, rest: str, base: Path | None, role: str) -> Named:
    match = re.fullmatch(r"resnet(\d+)", rest)
    if match is None or int(match[1]) < 8 or (int(match[1]) - 2) % 6:
        raise UsageError(
            f"{role} {name}: expected resnetD with D = 6n + 2, such as resnet8, resnet20 or resnet56"
        )
    return Named(name)


def _timm(name: str, rest: str, base: Path | None, role: str) -> Named:
    with needs_extra("vision"):
        import timm
    stem = rest.partition(".")[0]
    if not timm.is_model(stem):
        raise UsageError(
            f"{role} {name}: timm {timm.__version__} has no such model; "
            f"{nearest(stem, timm.list_models())[:200]}"
        )
    published = timm.get_pretrained_cfg(rest)
    return Named(name, known=Known(published.num_classes or None) if published else Known())


def _bundle(name: str, rest: str, base: Path | None, role: str) -> Named:
    if role != "teacher":
        raise UsageError(
            f"{role} {name}: is an exported model, which only teaches; name a model with weights of its own"
        )
    written, path = path_in_recipe(rest, base, what=f"{role} {name}")
    manifest = open_bundle(path).manifest
    names = next((manifest.labels[port.labels] for port in manifest.main.outputs if port.labels), None)
    known = Known() if names is None else Known(len(names), names)
    pre = next((one for one in manifest.pre if isinstance(one, TextPre)), None)
    if pre is None:
        return Named(f"bundle:{written}", known=known)
    folder = (path / pre.tokenizer).parent
    return Named(f"bundle:{written}", folder=folder, known=known, max_tokens=pre.max_tokens)


def _module(name: str, rest: str, base: Path | None, role: str) -> Named:
    if not all(part for part in rest.partition(":")):
        raise UsageError(f"{role} {name}: expected module:PACKAGE.MODULE:ATTRIBUTE")
    return Named(name)


def _folder(name: str, rest: str, base: Path | None, role: str) -> Named:
    from compactor.locate import locate_model

    folder = locate_model(name, Path.cwd())
    if folder is None:
        if not re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", rest):  # no id that the hub could have
            raise UsageError(
                f"{role} {name}: folder {rest} was not found; give a folder that holds config.json"
            )
        return Named(name)
    if name.startswith("hf:"):
        name = f"hf:{path_in_recipe(rest, base, what=f'{role} {name}')[0]}"
    known = classes_of_config(_read_config(folder))
    return Named(name, folder=folder, known=known, max_tokens=own_max_tokens(folder))


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{path}: is not JSON ({error}); download the model again") from error
    return config if isinstance(config, dict) else {}


CHECKS: dict[str, Callable[[str, str, Path | None, str], Named]] = {
    "cifar": _cifar,
    "timm": _timm,
    "hf": _folder,
    "package": _folder,
    "module": _module,
    "bundle": _bundle,
}
