"""Where work runs that many processes share: local processes, Ray, SLURM. No scheduler of our own.

Work is a list of items in a folder that all workers see: shards of a label store or of a pool's scores, and
stages of recipes. A worker does whatever is missing and nobody else is doing, so that any number of them, on
any launcher, started at any time, make the same files once. A launcher only starts workers and ends them.
"""

from typing import Protocol

LAUNCHERS = {
    "local": "compactor.launch.local:LocalProcesses",
    "ray": "compactor.launch.on_ray:RayActors",
    "slurm": "compactor.launch.on_slurm:SlurmJobs",
}


class Launcher(Protocol):
    """Starts workers; each runs `compactor.launch.worker.work` on the order that it was made for."""

    def start(self, names: list[str]) -> None:
        """Start a worker of each name."""

    def is_alive(self, name: str) -> bool:
        """Whether it waits for its start or runs."""

    def end(self) -> None:
        """End those that still run, though they were asked to stop."""
