"""Workers as Ray actors, which keep their teachers loaded; the cluster's machines see the same folders.

Ray's usage statistics are off, here and in the cluster that is started for a run on this machine alone.
"""

import logging
import os
import re
import socket
from pathlib import Path
from typing import Any

from compactor.launch.where import Where
from compactor_runtimes.errors import UnfitEnvironmentError, UsageError, needs_extra

ANSWER_S = 5.0
STORE_BYTES = 100 * 2**20  # nothing but the names of files passes through Ray's object store


class RayActors:
    """One actor a worker; an actor that dies is not started again by Ray but by the driver."""

    def __init__(self, order_file: Path, where: Where) -> None:
        """Join the cluster, or start one of this machine."""
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        _require_answer(where.address)
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
            raise UnfitEnvironmentError(_nobody(where.address, error)) from error
        self.running: dict[str, Any] = {}
        self.actors: dict[str, Any] = {}
        self.options: dict[str, Any] = {"num_cpus": where.processors}
        if "gpus" in where.options:
            self.options["num_gpus"] = float(where.options["gpus"])
        if "memory_gb" in where.options:
            self.options["memory"] = round(float(where.options["memory_gb"]) * 2**30)
        if not where.address:  # a cluster of many machines may still grow, this one will not
            self._require_room()

    def start(self, names: list[str]) -> None:
        """Start an actor of each name."""
        actor = self.ray.remote(_Actor).options(max_restarts=0, max_task_retries=0, **self.options)
        for name in names:
            self.actors[name] = actor.remote()
            self.running[name] = self.actors[name].work.remote(str(self.order_file), name, self.where.threads)

    def _require_room(self) -> None:
        """Refuse what Ray would wait for without an end."""
        # Ray annotates this function not at all
        there: dict[str, float] = self.ray.cluster_resources()  # type: ignore[no-untyped-call]
        for option, name, scale, unit in (("num_gpus", "GPU", 1, "GPU"), ("memory", "memory", 2**30, "GiB")):
            asked, found = self.options.get(option, 0) * self.where.workers, there.get(name, 0.0)
            if asked > found:
                self.ray.shutdown()
                raise UnfitEnvironmentError(
                    f"--on {self.where.text}: {self.where.workers} workers need {asked / scale:g} {unit}, "
                    f"this machine has {found / scale:.3g} for Ray; ask for less, or give a cluster's address"
                )

    def is_alive(self, name: str) -> bool:
        """Whether it waits for a place or runs."""
        finished, _ = self.ray.wait([self.running[name]], timeout=0)
        return not finished

    def end(self) -> None:
        """Kill the actors and leave the cluster."""
        for actor in self.actors.values():
            self.ray.kill(actor)
        self.ray.shutdown()


def _require_answer(address: str) -> None:
    """Refuse an address where nobody listens, which Ray would try for minutes.

    Raises:
        UsageError: it is none.
        UnfitEnvironmentError: nobody answers there.
    """
    if address in ("", "auto"):
        return
    found = re.fullmatch(r"(?:ray://)?\[?([\w.:-]+?)\]?:(\d{1,5})", address)
    if found is None:
        raise UsageError(f"--on ray: got {address!r}, expected auto, HOST:PORT or ray://HOST:PORT")
    try:
        socket.create_connection((found[1], int(found[2])), timeout=ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise UnfitEnvironmentError(_nobody(address, error)) from error


def _nobody(address: str, error: Exception) -> str:
    return (
        f"--on ray: no cluster answers at {address} ({error}); give the address that `ray status` shows "
        "there, or none for this machine"
    )


class _Actor:
    """What Ray keeps on a machine."""

    def work(self, order_file: str, name: str, threads: int) -> None:
        os.environ["OMP_NUM_THREADS"] = str(threads)
        from compactor.launch.worker import work

        work(order_file, name)
