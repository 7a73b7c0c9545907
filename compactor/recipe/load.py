"""Find a recipe, apply overrides, and check it; what it may hold is said in `recipe.spec` alone."""

import re
import shlex
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import yaml
from msgspec import Struct

from compactor.data.spec import SplitName
from compactor.recipe.checks import check_references, with_tokenizers
from compactor.recipe.cross_fit import with_fold_stages
from compactor.recipe.spec import Recipe, VsTeacherGate
from compactor_runtimes.errors import UsageError
from compactor_runtimes.tables import nearest
from compactor_runtimes.utf8 import decode_utf8

SMOKE_ROWS = 256


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
    recipe = parse_recipe(read_raw(name, overrides))
    return LoadedRecipe(recipe, find_recipe(name).resolve().parent, name, tuple(overrides))


def read_raw(name: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Read a recipe as plain YAML data, overrides applied; nothing is checked but that it is a mapping.

    Raises:
        UsageError: not found, not YAML, or an override that does not fit.
    """
    path = find_recipe(name)
    try:
        raw = yaml.load(decode_utf8(path.read_bytes(), f"recipe {path}"), Loader=_Loader)
    except yaml.YAMLError as error:
        raise UsageError(f"recipe {path}: is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise UsageError(f"recipe {path}: a mapping of keys was expected, found {type(raw).__name__}")
    for override in overrides:
        _override(raw, override)
    return raw


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
    check_references(recipe)
    return with_tokenizers(with_fold_stages(recipe))


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


def find_recipe(name: str) -> Path:
    """The file of a recipe: a path, or one that ships with the package.

    Raises:
        UsageError: there is none.
    """
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


KEY = "key` in `"  # how msgspec begins where a key is wrong and not a value
QUOTE = "put it in quotes: YAML reads yes and no as booleans, and 01 as a number"


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
    what, _, where = message.partition(" - at `")
    is_key, where = where.startswith(KEY), where.removeprefix(KEY).removeprefix("$")
    where = where.rstrip("`").removesuffix("[...]")  # one of a mapping's values
    path = where.replace("[", ".").replace("]", "").lstrip(".")
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
    if isinstance(found, dict) and expected == "expected str":
        wrong = [one for one in (found if is_key else found.values()) if not isinstance(one, str)]
        return f"recipe {path}: got {wrong[0]!r}, {expected}; {QUOTE}"
    if isinstance(found, bool | int | float) and expected == "expected str":
        return f"recipe {path}: got {found!r}, {expected}; {QUOTE}"
    if isinstance(found, dict | list):
        return f"recipe {path or '(top level)'}: {expected}"
    return f"recipe {path}: got {found!r}, {expected}; see `compactor schema`"
