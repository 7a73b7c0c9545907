"""What suite `scale` labels and trains: CIFAR-10, a published ResNet-56, 20,000 crops in 20 shards."""

from pathlib import Path
from typing import Any

IMAGES, CROPS, SHARDS, BATCH = 5_000, 4, 20, 128
ON = f"threads=1,shards={SHARDS}"


def recipe(**changes: Any) -> Any:
    """The recipe; `changes` replace keys of the top level."""
    import msgspec

    from compactor.recipe.load import LoadedRecipe, load_recipe, parse_recipe

    shipped = load_recipe("cifar10-kd")
    plain: dict[str, Any] = msgspec.to_builtins(shipped.recipe)
    [stage] = plain["stages"]
    stage |= {"epochs": None, "steps": 40, "labels": {"crops": CROPS, "evaluation": False}}
    plain["data"]["limit"] = {"train": IMAGES, "select": 1_000, "report": 1_000}
    return LoadedRecipe(parse_recipe(plain | changes), shipped.base, shipped.name)


def label(runs: Path, on: str) -> tuple[Path, list[float]]:
    """Label on workers; return the store, and the seconds of each of its shards."""
    from compactor.launch.ahead import Ahead
    from compactor.launch.status import work_below
    from compactor.launch.where import parse_where
    from compactor.progress import SilentReporter
    from compactor.run.label import label_recipe

    ahead = Ahead(parse_where(on), runs, SilentReporter())
    [made] = label_recipe(recipe(), runs=runs, workers=ahead)
    [work] = work_below(made.folder)
    return made.folder, list(work.progress.seconds.values())


def contents(store: Path) -> dict[str, str]:
    """Hashes of a store's files."""
    from compactor.cache.digest import file_digest

    files = [path for path in store.iterdir() if path.is_file() and not path.name.startswith(".")]
    return {path.name: file_digest(path) for path in files}
