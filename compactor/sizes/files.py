"""Where `plan --sizes` keeps its results: RUNS/NAME/sizes/TIMESTAMP/ with sizes.json and the plot."""

import shlex
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import msgspec

from compactor.cache.folder import RunFolders
from compactor.progress import Reporter
from compactor.recipe.load import LoadedRecipe
from compactor.sizes.candidates import Sizes
from compactor.sizes.plot import plot_sizes
from compactor_runtimes.errors import MissingDependency
from compactor_runtimes.files import write_whole


class SizesFiles:
    """The folder of one call, made when there is something to keep."""

    def __init__(self, root: Path, reporter: Reporter) -> None:
        """Keep under `root`, the recipe's folder of all runs."""
        self.root, self.reporter = root, reporter

    @cached_property
    def folder(self) -> Path:
        """The folder of this call."""
        return RunFolders(self.root / "sizes").new_run()

    def save(self, sizes: Sizes) -> None:
        """Write sizes.json, whole or not at all."""
        content = msgspec.json.format(msgspec.json.encode(sizes), indent=1) + b"\n"
        write_whole(self.folder / "sizes.json", content)

    def draw(self, sizes: Sizes) -> None:
        """Write the plot; without the package that draws, say so: the table and the samples are there."""
        if not any(row.compute for row in sizes.rows):
            return
        try:
            plot_sizes(sizes, self.folder)
        except MissingDependency as error:
            self.reporter.note(f"no plot: {error}")


def sizes_command(loaded: LoadedRecipe, runs: Path, candidates: Sequence[str], profile: str) -> str:
    """The command line that measures the same again."""
    words = ["compactor", "plan", *shlex.split(loaded.command(runs))[2:], "--sizes"]
    for candidate in candidates:
        words += ["--candidate", candidate]
    return shlex.join(words if profile == "smoke" else [*words, "--profile", profile])
