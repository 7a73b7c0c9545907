"""What a user would write to label with two processes: a bare loop of the teacher over crops, no store.

Usage: python -m benchmarks.peers.teacher_loop PROCESSOR SECONDS, which prints crops a second.
"""

import os
import sys
import time


def main() -> None:
    """Run the loop on one processor for some seconds."""
    os.sched_setaffinity(0, {int(sys.argv[1])})
    import torch

    from benchmarks.scale_recipe import BATCH, recipe
    from compactor.models.build import build_model
    from compactor.progress import SilentReporter
    from compactor.run.data import DataSets

    torch.set_num_threads(1)
    loaded = recipe()
    data = DataSets(loaded, SilentReporter()).open(loaded.recipe.data)
    [teacher] = loaded.recipe.teachers
    assert not isinstance(teacher, str)
    model = build_model(teacher, data.info, base=loaded.base, seed=0).eval()
    batches = torch.from_numpy(data.train.inputs[: 10 * BATCH].copy()).permute(0, 3, 1, 2).split(BATCH)
    with torch.inference_mode():
        model(pixel_values=batches[0].float() / 255)  # warms up
        done, started_s = 0, time.perf_counter()
        while time.perf_counter() - started_s < float(sys.argv[2]):
            model(pixel_values=batches[done % 10].float() / 255)["label"].softmax(-1)
            done += 1
        sys.stdout.write(f"{done * BATCH / (time.perf_counter() - started_s)}\n")


if __name__ == "__main__":
    main()
