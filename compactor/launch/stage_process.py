"""A stage of an order in several processes of one machine, by torchrun; rank 0 writes the outcome.

torchrun --standalone --nproc-per-node N -m compactor.launch.stage_process ORDER ITEM
"""

import subprocess
import sys
import time
from pathlib import Path

from compactor.launch.order import Order, read_order
from compactor.launch.train_item import train_item
from compactor.trainer.interrupt import stop_on_signal
from compactor.trainer.processes import end_processes, is_main_process
from compactor_runtimes.errors import InterruptedRun, UnfitEnvironmentError

POLL_S = 0.2


def train_in_processes(order: Order, number: int, order_file: Path) -> None:
    """Train an item of an order by torchrun, and pass a wish to stop on to it.

    Raises:
        InterruptedRun: it was stopped; the checkpoint is kept.
        UnfitEnvironmentError: its processes ended without an outcome.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(order.processes), "-m", __name__, str(order_file), str(number)]
    asked = False
    with stop_on_signal() as wish, subprocess.Popen(command) as torchrun:
        while torchrun.poll() is None:
            if wish.requested and not asked:
                asked = True
                torchrun.terminate()  # which passes it on to its processes
            time.sleep(POLL_S)
    if wish.requested:
        raise InterruptedRun("stopped, checkpoint kept")
    if torchrun.returncode or not order.files()[number].is_file():
        raise UnfitEnvironmentError(
            f"stage {order.items[number].stage}: torchrun ended with {torchrun.returncode} and no outcome; "
            f"see {order.place}/*.log"
        )


def main() -> None:
    """Be one of the processes."""
    order, number = read_order(Path(sys.argv[1])), int(sys.argv[2])
    train_item(order, number, writes=is_main_process())
    end_processes()


if __name__ == "__main__":
    main()
