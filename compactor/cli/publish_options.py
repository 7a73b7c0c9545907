"""Publish what a command has finished."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compactor_runtimes.objects.publish import Published

UNFINISHED = "unfinished.json"  # of a label store that is not whole


def publish_to(address: str, folder: Path, *, quiet: bool) -> "Published":
    """Publish a folder with a progress bar.

    Raises:
        UsageError: the folder is not finished, or something else lies at the address.
    """
    from compactor.cli import progress_reporter
    from compactor_runtimes.errors import UsageError
    from compactor_runtimes.objects.publish import publish

    if (folder / UNFINISHED).is_file():
        raise UsageError(
            f"publish: label store {folder} is not finished; give its `compactor label` again first"
        )
    with progress_reporter(quiet=quiet).bar("publish", 1) as bar:
        return publish(folder, address, told=lambda done, total: bar.at(done, total=total))
