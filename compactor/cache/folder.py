"""Folders: `runs/<name>/<timestamp>/` for each run, `runs/<name>/stages/` for what runs share."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from compactor_runtimes.errors import UsageError

STUDENT = "student"  # the model's folder in a stage's folder
DONE = "done.json"  # in a stage's folder once it is trained
RECORDS = "records.safetensors"  # beside it, what a stage's sampler and targets keep for later stages
CHECKPOINT = "training.pt"  # beside it while it is being trained
WEIGHTS = "model.safetensors"  # in a model's folder
CONFIG = "config.json"  # beside it
EXPORTED_TEACHERS = "exported-teachers"  # in a run's folder: links to bundles of its teachers


@dataclass(frozen=True)
class RunFolders:
    """Where everything of one recipe lies."""

    root: Path

    def stage(self, stage_id: str, digest: str) -> Path:
        """Folder of a trained stage, shared by all runs with the same digest."""
        return self.root / "stages" / f"{stage_id}-{digest[:12]}"

    def labels(self, digest: str) -> Path:
        """Folder of a label store, shared by all stages and runs that want the same labels."""
        return self.root / "labels" / digest[:12]

    @property
    def all_teachers(self) -> Path:
        """Folder of all exported teachers."""
        return self.root / "teachers"

    def teachers(self, digest: str) -> Path:
        """Folder of exported teachers, shared by all runs that are taught or judged by the same ones."""
        return self.all_teachers / digest[:12]

    def new_run(self, *, suffix: str = "") -> Path:
        """Make the folder of a new run, named by the time and `suffix`; two in one second get a number."""
        stamp = time.strftime("%Y%m%d-%H%M%S") + (f"-{suffix}" if suffix else "")
        for again in ["", *(f"-{number}" for number in range(2, 1000))]:
            folder = self.root / f"{stamp}{again}"
            try:
                folder.mkdir(parents=True)
                return folder
            except FileExistsError:
                continue
        raise FileExistsError(self.root / stamp)

    def point_latest(self, run: Path) -> None:
        """Make `latest` point at a finished run, atomically."""
        link = self.root / f".latest-{os.getpid()}"
        link.unlink(missing_ok=True)
        link.symlink_to(run.name)
        link.replace(self.root / "latest")


def link_stage(run: Path, stage_id: str, folder: Path, *, kind: str = "checkpoints") -> None:
    """Show a stage's folder as `checkpoints/<id>` in the run, other things that are kept as `<kind>/<id>`."""
    link = run / kind / stage_id
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(Path(os.path.relpath(folder, link.parent)))


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Keep other processes out of a stage's folder; the lock ends with the process, however it ends.

    Raises:
        UsageError: another process is training there.
    """
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"{folder}: another process is training this stage; wait for it, or give another --runs"
            ) from error
        yield
