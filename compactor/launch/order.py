"""What a worker is told: one file in the folder of the work, and one of each worker's outcome."""

from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml
from msgspec import Struct

from compactor.cache.claims import JOURNALS, own_name
from compactor.recipe.load import LoadedRecipe, parse_recipe, to_yaml
from compactor_runtimes.errors import IntegrityError
from compactor_runtimes.files import write_whole

ORDER = "order.json"
STOP = "stop"
DEVICE = ".device"  # of the files that say what a process computes on
OK, DIED = 0, -1


class RecipeText(Struct, frozen=True):
    """A recipe as the driver has read it, so that all workers have the same."""

    name: str
    base: str
    text: str
    at_most: int | None = None

    @staticmethod
    def of(loaded: LoadedRecipe) -> "RecipeText":
        """Write a recipe out."""
        return RecipeText(loaded.name, str(loaded.base), to_yaml(loaded.recipe), loaded.at_most)

    def read(self) -> LoadedRecipe:
        """Read it again."""
        raw: dict[str, Any] = yaml.safe_load(self.text)
        return LoadedRecipe(parse_recipe(raw), Path(self.base), self.name, at_most=self.at_most)


class StageItem(Struct, frozen=True):
    """A stage to train, of the recipe at that place; what it builds on is trained."""

    recipe: int
    stage: str


class Order(Struct, frozen=True, kw_only=True):
    """Work of one folder: `labels` of a stage, a pool's `scores` (below `out`), or `stages` to train.

    A stage is trained in `processes` by torchrun; `sealed` ones see nothing of the report split. Paths are
    absolute and the same for all workers.
    """

    kind: Literal["labels", "scores", "stages"]
    folder: str
    runs: str
    recipes: list[RecipeText]
    threads: int
    stage: str = ""
    out: str | None = None
    items: list[StageItem] = []
    processes: int = 1
    sealed: bool = False
    on: str = ""

    @property
    def place(self) -> Path:
        """Where the order, the journals and the outcomes lie."""
        return Path(self.folder) / JOURNALS

    def write(self) -> Path:
        """Put it where workers and `compactor status` find it; an earlier wish to stop is taken back."""
        self.place.mkdir(parents=True, exist_ok=True)
        (self.place / STOP).unlink(missing_ok=True)
        path = self.place / ORDER
        write_whole(path, msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")
        return path

    def files(self) -> dict[int, Path]:
        """The files of `stages`, by number: each appears when its stage is trained, or cannot be."""
        return {number: Path(self.folder) / f"{number}.json" for number in range(len(self.items))}


class Outcome(Struct, frozen=True):
    """How a worker ended: the exit code that a command would have had, and what it would have said."""

    code: int
    said: str = ""


class StageOutcome(Struct, frozen=True):
    """Where a trained stage lies; `problem` says why it could not be trained, else empty."""

    folder: str
    problem: str = ""


def read_order(path: Path) -> Order:
    """Read an order.

    Raises:
        IntegrityError: it is damaged.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Order)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise IntegrityError(
            f"order {path}: is damaged ({error}); give the command with --on again"
        ) from error


def outcome_file(place: Path, name: str) -> Path:
    """The file of a worker's outcome."""
    return place / f"{name}.json"


def read_outcome(place: Path, name: str) -> Outcome:
    """How a worker ended; DIED where it did not live to say so."""
    path = outcome_file(place, name)
    return msgspec.json.decode(path.read_bytes(), type=Outcome) if path.is_file() else Outcome(DIED)


def read_stage_outcome(file: Path) -> StageOutcome:
    """How a stage's training ended."""
    return msgspec.json.decode(file.read_bytes(), type=StageOutcome)


def note_device(place: Path) -> None:
    """Write down what this process computes on, so that a forecast knows whose seconds its items are."""
    import torch

    from compactor_runtimes.environment import describe

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else describe()["cpu"] or ""
    write_whole(place / f"{own_name()}{DEVICE}", str(name).encode())


def device_of(place: Path, process: str) -> str:
    """What a process computed on; empty where it did not say."""
    path = place / f"{process}{DEVICE}"
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def wish_to_stop(place: Path) -> None:
    """Ask all workers of an order to stop after the batch at hand, wherever they run."""
    write_whole(place / STOP, b"")
