"""The recipe: typed records of one YAML file, how it is found, overridden and checked.

What a recipe leads to is decided in `compactor.run`; this module only says whether it is well formed.
"""

import re
import shlex
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml
from msgspec import Meta, Struct

from compactor.data.spec import AugmentSpec, DataSpec, SplitName
from compactor.label_store.records import Quantization
from compactor_runtimes.errors import UsageError
from compactor_runtimes.manifest import ExportSpec
from compactor_runtimes.tables import nearest

Positive = Annotated[float, Meta(gt=0)]
NonNegative = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1)]
Schedule = Literal["cosine", "cosine-epochs", "step", "constant"]
Identifier = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
STAGE = "stage:"
GAMMA = 0.1
SMOKE_ROWS = 256


class RecipePart(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all parts of a recipe: frozen, keyword-only, unknown keys are errors."""


class ModelSpec(RecipePart, frozen=True):
    """A model by name.

    `cifar:resnet20`, `timm:NAME`, `hf:ID_OR_PATH`, `package:IMPORT/RESOURCE` (a model folder inside an
    installed package) or `module:package.module:attr`. `options` are the family's own (README, "The recipe").

    `weights` is a safetensors file, `pretrained` for the source's own weights, or absent for a random start.
    `mean` and `std` replace the model's own input normalisation (per channel, for pixels in [0, 1]).

    `bundle:PATH` is a bundle whose ONNX artifact teaches; it has its weights, size and normalisation.
    `image_size` is the side in pixels that images are resized to (bilinear, antialias) before this teacher;
    absent = as they come.
    """

    model: str
    weights: str | None = None
    options: dict[str, Any] = {}
    mean: list[float] | None = None
    std: list[Positive] | None = None
    image_size: Count | None = None

    @property
    def family(self) -> str:
        """`hf` of `hf:NAME`."""
        return self.model.partition(":")[0]


class LabelsSpec(RecipePart, frozen=True):
    """A label store in the place of live teachers: what they said of recorded crops, kept on disk.

    `crops` are recorded of each training sample, cut as the stage's `augment` says. `quantization` and `k`
    say how labels are kept and read: `full`, `hard`, `smoothing`, `marginal-smoothing` (the k largest classes
    keep their probabilities, the others share the rest) or `marginal-renorm`. `boxes`: int16 pixels or
    float32 fractions. `evaluation` labels the select and report splits too, so that agreement can be told
    later without the teachers. `seed` is the crops' own, so that runs with different seeds share a store.

    `store` is the folder of a finished store to use instead of making one: only `quantization` and `k` then
    have an effect. With `teachers: []` its teachers are taken as they are; named ones must be the same.
    """

    crops: Annotated[int, Meta(ge=1, le=100_000)] = 1
    quantization: Quantization = "marginal-smoothing"
    k: Count = 5
    probabilities: Literal["float16", "float32"] = "float16"
    boxes: Literal["pixels", "relative"] = "pixels"
    evaluation: bool = True
    seed: Annotated[int, Meta(ge=0)] = 0
    store: str | None = None


class MaskingSpec(RecipePart, frozen=True):
    """Which tokens of `task: masked-lm` are to be guessed, anew in every epoch.

    `rate` of all tokens but special ones is chosen (at least one a text); of these the share `keep` stays as
    it is, `random` becomes any other token, the rest the mask token. `positions` says where teacher and
    student are compared: at the chosen tokens, or at all that are no padding.
    """

    rate: Annotated[float, Meta(gt=0, lt=1)] = 0.15
    keep: Annotated[float, Meta(ge=0, le=1)] = 0.1
    random: Annotated[float, Meta(ge=0, le=1)] = 0.1
    positions: Literal["masked", "all"] = "masked"


class StopSpec(RecipePart, frozen=True):
    """End a stage when its select figure is flat.

    `figure` is one that the stage reports after each epoch, such as `loss` (lower is better) or `accuracy`
    (higher is better). It is flat when `patience` epochs in a row were not better than the best before by
    more than `min_delta`.
    """

    figure: str = "loss"
    patience: Count = 2
    min_delta: NonNegative = 0.0


class StageSpec(RecipePart, frozen=True):
    """One training stage. `student`, `teachers`, `data` and `task` default to the recipe's own.

    `schedule: step` multiplies the learning rate by `gamma` at each epoch of `milestones` (counted from 0).
    """

    id: Identifier
    method: str
    task: str | None = None
    options: dict[str, Any] = {}
    student: ModelSpec | None = None
    teachers: list[ModelSpec | str] | None = None
    data: DataSpec | None = None
    labels: LabelsSpec | None = None
    init: str | None = None
    epochs: Count | None = None
    steps: Count | None = None
    batch_size: Count = 128
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: Positive = 0.1
    momentum: NonNegative = 0.9
    nesterov: bool = False
    weight_decay: NonNegative = 5e-4
    schedule: Schedule = "cosine"
    milestones: list[Count] = []
    gamma: Positive = GAMMA
    warmup_epochs: NonNegative = 0.0
    clip_norm: Positive | None = None
    stop: StopSpec | None = None
    augment: AugmentSpec = AugmentSpec()
    masking: MaskingSpec = MaskingSpec()
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    seed: int | None = None


class VsStudentGate(RecipePart, frozen=True):
    """How far an artifact may fall behind the torch student, on select samples."""

    max_drop_points: Positive = 0.5
    min_agreement: dict[Literal["fp32", "fp16", "int8"], Annotated[float, Meta(ge=0, le=1)]] = msgspec.field(
        default_factory=lambda: {"fp32": 0.9999, "fp16": 0.995, "int8": 0.98}
    )


class VsTeacherGate(RecipePart, frozen=True):
    """How far the student may fall behind its teachers, on select samples; absent means no gate."""

    max_drop_points: Positive | None = None


class GatesSpec(RecipePart, frozen=True):
    """What the results must reach; a failed gate is an exit code."""

    artifact_vs_student: VsStudentGate = VsStudentGate()
    student_vs_teacher: VsTeacherGate = VsTeacherGate()


class MeasureSpec(RecipePart, frozen=True):
    """Which load to measure under, and how long."""

    scenarios: list[Literal["single-stream", "offline"]] = msgspec.field(
        default_factory=lambda: ["single-stream", "offline"]
    )
    profile: Literal["smoke", "quick", "full"] = "quick"
    threads: Count | None = None


class Recipe(RecipePart, frozen=True):
    """One job from teachers to a bundle; without stages, the student is shipped with the weights it has."""

    name: Identifier
    task: str
    data: DataSpec
    stages: list[StageSpec]
    teachers: list[ModelSpec | str] = []
    student: ModelSpec | None = None
    seed: int = 0
    export: list[ExportSpec] = msgspec.field(default_factory=lambda: [ExportSpec(required=True)])
    gates: GatesSpec = GatesSpec()
    measure: MeasureSpec = MeasureSpec()
    licences: dict[str, str] = {}

    def stage_student(self, stage: StageSpec) -> ModelSpec:
        """The student that a stage trains: its own, else the recipe's."""
        student = stage.student or self.student
        assert student is not None  # checked when the recipe was loaded
        return student

    def stage_teachers(self, stage: StageSpec) -> list[ModelSpec | str]:
        """The teachers that a stage learns from: its own, else the recipe's."""
        return self.teachers if stage.teachers is None else stage.teachers

    def stage_data(self, stage: StageSpec) -> DataSpec:
        """The data that a stage trains on: its own, else the recipe's."""
        return stage.data or self.data

    def stage_task(self, stage: StageSpec) -> str:
        """The task that a stage trains for: its own, else the recipe's."""
        return stage.task or self.task


class LoadedRecipe(Struct, frozen=True):
    """A recipe, the folder that its relative paths resolve against, and how the user named it.

    `at_most` is set for smoke runs: no more rows than that are read of each source.
    """

    recipe: Recipe
    base: Path
    name: str
    overrides: tuple[str, ...] = ()
    at_most: int | None = None

    def command(self, runs: Path = Path("runs"), *, verb: str = "run") -> str:
        """The command line that runs (or labels), or goes on with, this recipe in the folder `runs`."""
        words = ["compactor", verb, self.name]
        for override in self.overrides:
            words += ["--set", override]
        words += ["--smoke"] if self.at_most else []
        return shlex.join(words if runs == Path("runs") else [*words, "--runs", str(runs)])


def recipe_names() -> list[str]:
    """Names of the recipes that ship with the package."""
    shipped = files("compactor") / "recipes"
    return sorted(
        entry.name.removesuffix(".yaml") for entry in shipped.iterdir() if entry.name.endswith(".yaml")
    )


def load_recipe(name: str, overrides: Sequence[str] = ()) -> LoadedRecipe:
    """Load a recipe by shipped name or by path, apply `key.path=value` overrides, and check it.

    Raises:
        UsageError: not found, not YAML, an unknown key, a wrong type, or parts that contradict each other.
    """
    path = _find(name)
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"recipe {path}: is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise UsageError(f"recipe {path}: a mapping of keys was expected, found {type(raw).__name__}")
    for override in overrides:
        _override(raw, override)
    recipe = parse_recipe(raw)
    return LoadedRecipe(recipe, path.resolve().parent, name, tuple(overrides))


def parse_recipe(raw: dict[str, Any]) -> Recipe:
    """Turn plain YAML data into a checked recipe.

    Raises:
        UsageError: an unknown key, a wrong type, or parts that contradict each other.
    """
    _check_keys(raw, msgspec.inspect.type_info(Recipe), "")
    try:
        recipe = msgspec.convert(raw, Recipe)
    except msgspec.ValidationError as error:
        raise UsageError(_explain(str(error), raw)) from error
    from compactor.recipe_checks import check_references, with_tokenizers

    check_references(recipe)
    return with_tokenizers(recipe)


def smoke(loaded: LoadedRecipe) -> LoadedRecipe:
    """The same recipe on a handful of samples: every step is taken, no result means anything.

    Two optimiser steps a stage on small batches, a few rows, the shortest measurement, and no gate between
    student and teachers.
    """
    recipe, replace = loaded.recipe, msgspec.structs.replace
    for stage in recipe.stages:
        if stage.labels and stage.labels.store and not recipe.stage_teachers(stage):
            raise UsageError(
                f"stage {stage.id}: a smoke run labels a handful of samples by itself, but the stage has a "
                "label store and no teachers; name its teachers, or run without --smoke"
            )
    rows: dict[SplitName, int] = {"train": 32, "select": 32, "report": 32}
    stages = [
        replace(
            stage,
            steps=2,
            epochs=None,
            warmup_epochs=0.0,
            # several crops of an image make a batch, whose size must stay a multiple of them
            batch_size=stage.batch_size if stage.labels else min(stage.batch_size, 8),
            labels=stage.labels and replace(stage.labels, store=None),
            data=stage.data and replace(stage.data, limit=rows),
        )
        for stage in recipe.stages
    ]
    shrunk = replace(
        recipe,
        name=f"{recipe.name}-smoke",
        data=replace(recipe.data, limit=rows),
        stages=stages,
        gates=replace(recipe.gates, student_vs_teacher=VsTeacherGate()),
        measure=replace(recipe.measure, profile="smoke"),
    )
    return replace(loaded, recipe=shrunk, at_most=SMOKE_ROWS)


def schema() -> dict[str, Any]:
    """The JSON schema of a recipe, for editors."""
    return msgspec.json.schema(Recipe)


def to_yaml(recipe: Recipe) -> str:
    """The recipe with every default written out."""
    return yaml.safe_dump(msgspec.to_builtins(recipe), sort_keys=False, allow_unicode=True)


def _find(name: str) -> Path:
    path = Path(name)
    if path.is_file():
        return path
    if path.suffix in (".yaml", ".yml") or "/" in name:
        raise UsageError(
            f"recipe {name}: no such file; give a path to a YAML file, or one of: {', '.join(recipe_names())}"
        )
    if name not in recipe_names():
        raise UsageError(
            f"recipe {name!r}: no recipe of that name ships with Compactor; {nearest(name, recipe_names())}"
        )
    return Path(str(files("compactor") / "recipes" / f"{name}.yaml"))


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads 1e-4 as a number, as YAML 1.2 does (PyYAML follows 1.1, which wants 1.0e-4)."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(?:\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def _override(raw: dict[str, Any], override: str) -> None:
    """Apply one `a.0.b=value`, the value read as YAML; a missing key is created and checked later."""
    path, equals, text = override.partition("=")
    keys = path.split(".")
    if not equals or not all(keys):
        raise UsageError(f"--set {override!r}: expected key.path=value, for example stages.0.epochs=3")
    node: Any = raw
    try:
        value = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise UsageError(
            f"--set {override!r}: the value is not YAML: {' '.join(str(error).split())}"
        ) from error
    for key in keys[:-1]:
        node = _descend(node, key, override)
    if isinstance(node, list):
        _descend(node, keys[-1], override)
        node[int(keys[-1])] = value
    elif isinstance(node, dict):
        node[keys[-1]] = value
    else:
        raise UsageError(
            f"--set {override!r}: {'.'.join(keys[:-1])} is a plain value ({node!r}), it has no parts"
        )


def _descend(node: Any, key: str, override: str) -> Any:
    if isinstance(node, list):
        if not key.isdecimal() or int(key) >= len(node):
            raise UsageError(
                f"--set {override!r}: {key!r} is no index into a list of {len(node)}; "
                f"use 0 to {len(node) - 1}"
            )
        return node[int(key)]
    if isinstance(node, dict):
        return node.setdefault(key, {})
    raise UsageError(f"--set {override!r}: {key!r} has nothing to go into, found the plain value {node!r}")


def _check_keys(value: Any, kind: msgspec.inspect.Type, path: str) -> None:
    """Name the first unknown key with its path and the nearest key; msgspec alone would not suggest one."""
    inspect = msgspec.inspect
    if isinstance(kind, inspect.UnionType):
        for option in kind.types:
            if isinstance(value, dict) == isinstance(option, inspect.StructType):
                _check_keys(value, option, path)
    elif isinstance(kind, inspect.StructType) and isinstance(value, dict):
        fields = {field.encode_name: field.type for field in kind.fields}
        for key, part in value.items():
            here = f"{path}.{key}" if path else str(key)
            if key not in fields:
                raise UsageError(f"recipe {here}: unknown key; {nearest(str(key), list(fields))}")
            _check_keys(part, fields[key], here)
    elif isinstance(kind, inspect.ListType) and isinstance(value, list):
        for index, part in enumerate(value):
            _check_keys(part, kind.item_type, f"{path}.{index}")


def _explain(message: str, raw: Any) -> str:
    """Turn msgspec's "Expected `float`, got `str` - at `$.stages[0].lr`" into our sentence."""
    what, _, where = message.partition(" - at `$")
    path = where.rstrip("`").replace("[", ".").replace("]", "").lstrip(".")
    expected = what.replace("`", "")
    found: Any = raw
    for key in path.split(".") if path else []:
        if isinstance(found, list) and key.isdecimal():
            found = found[int(key)]
        elif isinstance(found, dict) and key in found:
            found = found[key]
        else:
            return f"recipe {path}: {expected}"
    if expected.startswith("Expected"):
        expected = "expected" + expected.removeprefix("Expected").split(", got")[0]
    if isinstance(found, dict | list):
        return f"recipe {path or '(top level)'}: {expected}"
    return f"recipe {path}: got {found!r}, {expected}; see `compactor schema`"
