"""Workers as jobs of SLURM, an array of them, by submitit; `cluster=local` runs the same jobs here.

Options are submitit's: `timeout_min=600`, `slurm_partition=long`, `slurm_gres=gpu:1`. submitit hands the name
of the order's file to a job in a pickle of its own, in the order's folder.
"""

from pathlib import Path
from typing import Any

from compactor.launch.where import Where, option_value
from compactor.launch.worker import work
from compactor_runtimes.errors import UsageError, needs_extra

TIMEOUT_MIN = 600


class SlurmJobs:
    """One job a worker."""

    def __init__(self, order_file: Path, where: Where) -> None:
        """Ask submitit for its executor."""
        with needs_extra("slurm"):
            import submitit
        options = {key: option_value(value) for key, value in where.options.items()}
        cluster = options.pop("cluster", "slurm")
        try:
            self.executor = submitit.AutoExecutor(folder=order_file.parent / "submitit", cluster=cluster)
            self.executor.update_parameters(
                cpus_per_task=where.processors, timeout_min=options.pop("timeout_min", TIMEOUT_MIN), **options
            )
        except (RuntimeError, NameError, ValueError, TypeError, AssertionError) as error:
            raise UsageError(f"--on slurm: {error}") from error
        self.order_file = order_file
        self.jobs: dict[str, Any] = {}

    def start(self, names: list[str]) -> None:
        """Submit an array with a job of each name."""
        with self.executor.batch():
            jobs = [self.executor.submit(work, str(self.order_file), name) for name in names]
        self.jobs |= dict(zip(names, jobs, strict=True))

    def is_alive(self, name: str) -> bool:
        """Whether it waits in the queue or runs."""
        return not self.jobs[name].done()

    def end(self) -> None:
        """Cancel what is left."""
        for job in self.jobs.values():
            if not job.done():
                job.cancel()
