"""Write the recommended recipe: the user's, with the winner's setting in its last stage, in full length."""

from pathlib import Path
from typing import Any

import yaml

from compactor.recipe.load import LoadedRecipe, find_recipe, parse_recipe, read_raw, recipe_names
from compactor.recommend.result import Recommendation, Row
from compactor_runtimes.errors import UsageError
from compactor_runtimes.files import write_whole

MARK = "# Written by `compactor recommend`"


def recommended_file(loaded: LoadedRecipe, out: Path | None) -> Path:
    """Where the recipe is to be written: absent, beside the user's, or here for one that ships with us.

    Raises:
        UsageError: something else lies there, or there is no such folder.
    """
    if out is None:
        shipped = loaded.name in recipe_names() and not Path(loaded.name).is_file()
        folder = Path() if shipped else find_recipe(loaded.name).parent
        out = folder / f"{loaded.recipe.name}-recommended.yaml"
    if not out.parent.is_dir():
        raise UsageError(f"recipe {out}: folder {out.parent} does not exist; create it first")
    if out.exists() and not (out.is_file() and out.read_bytes().startswith(MARK.encode())):
        raise UsageError(f"recipe {out}: exists already, and not by this command; write elsewhere with --out")
    return out


def recommended_yaml(loaded: LoadedRecipe, found: Recommendation) -> str:
    """The user's recipe, overrides included, with the winner's method, options, rate and labels.

    Raises:
        UsageError: it is no recipe, which would be our mistake.
    """
    raw, row = read_raw(loaded.name, loaded.overrides), found.winner
    stage = raw["stages"][-1]
    settings: dict[str, Any] = {"method": row.method, "options": row.options, "lr": row.lr}
    if not row.options:
        del settings["options"]
        stage.pop("options", None)
    if not row.stored:
        stage.pop("labels", None)
    stage |= settings
    parse_recipe(raw)
    text = yaml.safe_dump(raw, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110)
    return "\n".join([*_head(found, row), text])


def write_recommended(loaded: LoadedRecipe, found: Recommendation, out: Path) -> list[str]:
    """Write it; return what is to be said of it."""
    write_whole(out, recommended_yaml(loaded, found).encode())
    notes = []
    if b"#" in find_recipe(loaded.name).read_bytes():
        notes.append(f"comments of {loaded.name} are not kept in {out}")
    if loaded.name not in recipe_names() and out.resolve().parent != loaded.base:
        notes.append(
            f"relative paths of a recipe start at its folder: {out} lies elsewhere than {loaded.name}"
        )
    return notes


def _head(found: Recommendation, row: Row) -> list[str]:
    value = f"{row.value:.4f}" if row.value is not None else ""
    return [
        f"{MARK}: {row.name}",
        f"# was the best of {len(found.rows)} settings after {row.steps:,} steps: {found.figure} {value} on "
        f"{row.n:,} select samples,",
        "# which flatters what was chosen by it. The report split of a full run tells how good it is.",
    ]
