"""Workers as processes of this machine, each on processors of its own where there are enough."""

import os
import subprocess
import sys
from pathlib import Path

from compactor.launch.where import Where
from compactor_runtimes.files import writing

PATIENCE_S = 30.0


class LocalProcesses:
    """Start `python -m compactor.launch.worker`; what they print lies beside the order, in NAME.log."""

    def __init__(self, order_file: Path, where: Where) -> None:
        """Take the order."""
        self.order_file, self.where = order_file, where
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.slots: dict[str, list[str]] = {}

    def start(self, names: list[str]) -> None:
        """Start a worker of each name."""
        for name in names:
            self.slots[name] = self._free_slot()
            command = [sys.executable, "-m", "compactor.launch.worker", str(self.order_file), name]
            log = self.order_file.with_name(f"{name}.log")
            with writing(log):
                file = log.open("ab")
            with file:
                self.processes[name] = subprocess.Popen(
                    [*command, *self.slots[name]],
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=file,
                    env=os.environ | {"OMP_NUM_THREADS": str(self.where.threads)},
                    start_new_session=True,  # Ctrl-C is the driver's to pass on
                )

    def is_alive(self, name: str) -> bool:
        """Whether it runs."""
        return self.processes[name].poll() is None

    def end(self) -> None:
        """Kill those that still run."""
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
            process.wait()

    def _free_slot(self) -> list[str]:
        """Processors of the first slot that no living worker has; none where there are too few for all."""
        mine, count = sorted(os.sched_getaffinity(0)), self.where.processors
        if self.where.workers * count > len(mine):
            return []
        taken = [self.slots[name] for name in self.processes if self.is_alive(name)]
        slots = [mine[at : at + count] for at in range(0, self.where.workers * count, count)]
        words = ([",".join(map(str, slot))] for slot in slots)
        return next((one for one in words if one not in taken), [])
