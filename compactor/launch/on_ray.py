"""Workers as Ray actors, which keep their teachers loaded; the cluster's machines see the same folders.

Ray's usage statistics are off, here and in the cluster that is started for a run on this machine alone.
"""

import logging
import os
from pathlib import Path
from typing import Any

from compactor.launch.where import Where
from compactor_runtimes.errors import UnfitEnvironmentError, needs_extra

STORE_BYTES = 100 * 2**20  # nothing but the names of files passes through Ray's object store


class RayActors:
    """One actor a worker; an actor that dies is not started again by Ray but by the driver."""

    def __init__(self, order_file: Path, where: Where) -> None:
        """Join the cluster, or start one of this machine."""
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        with needs_extra("ray"):
            import ray
        self.ray, self.order_file, self.where = ray, order_file, where
        settings: dict[str, Any] = {"address": where.address or "local", "log_to_driver": False}
        if not where.address:
            settings |= {"num_cpus": where.workers * where.processors, "include_dashboard": False}
            settings |= {"object_store_memory": STORE_BYTES, "_node_ip_address": "127.0.0.1"}
        try:
            ray.init(logging_level=logging.ERROR, **settings)
        except ConnectionError as error:
            raise UnfitEnvironmentError(
                f"--on ray: no cluster answers at {where.address} ({error}); give the address that `ray "
                "status` shows there, or none for this machine"
            ) from error
        self.running: dict[str, Any] = {}
        self.actors: dict[str, Any] = {}

    def start(self, names: list[str]) -> None:
        """Start an actor of each name."""
        options: dict[str, Any] = {"num_cpus": self.where.processors}
        if "gpus" in self.where.options:
            options["num_gpus"] = float(self.where.options["gpus"])
        if "memory_gb" in self.where.options:
            options["memory"] = round(float(self.where.options["memory_gb"]) * 2**30)
        actor = self.ray.remote(_Actor).options(max_restarts=0, max_task_retries=0, **options)
        for name in names:
            self.actors[name] = actor.remote()
            self.running[name] = self.actors[name].work.remote(str(self.order_file), name, self.where.threads)

    def is_alive(self, name: str) -> bool:
        """Whether it waits for a place or runs."""
        finished, _ = self.ray.wait([self.running[name]], timeout=0)
        return not finished

    def end(self) -> None:
        """Kill the actors and leave the cluster."""
        for actor in self.actors.values():
            self.ray.kill(actor)
        self.ray.shutdown()


class _Actor:
    """What Ray keeps on a machine."""

    def work(self, order_file: str, name: str, threads: int) -> None:
        os.environ["OMP_NUM_THREADS"] = str(threads)
        from compactor.launch.worker import work

        work(order_file, name)
