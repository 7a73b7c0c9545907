"""Runtimes of known speed and of known misbehaviour, opened in worker processes by "toy_runtimes:NAME"."""

import errno
import os
import sys
import time

import numpy as np

from compactor_runtimes.errors import IntegrityError, UsageError


class Toy:
    """Two classes: the mean of the image decides; sleeps a fixed time for each image."""

    inputs, outputs = ["image"], ["logits"]

    def __init__(self, seconds_per_image):
        self.seconds_per_image = seconds_per_image
        self.provider = "toy"

    def run(self, feeds):
        images = feeds["image"]
        assert images.dtype == np.float32
        assert images.ndim == 4
        time.sleep(self.seconds_per_image * len(images))
        mean = images.mean(axis=(1, 2, 3))
        return {"logits": np.stack([0.5 - mean, mean - 0.5], axis=1)}

    def close(self):
        pass


def fast(source, *, threads):
    sys.stdout.write("chatter on stdout\n")  # must not reach the protocol
    os.write(1, b"chatter on file descriptor 1\n")
    return Toy(0.002)


def slow(source, *, threads):
    return Toy(0.004)


def instant(source, *, threads):
    return Toy(0)


def threads_in_label(source, *, threads):
    toy = Toy(0)
    toy.provider = f"threads={threads} omp={os.environ.get('OMP_NUM_THREADS')}"
    return toy


def wont_open(source, *, threads):
    raise RuntimeError("cannot open the toy: its spring is broken")


def dies(source, *, threads):
    class Dying(Toy):
        def run(self, feeds):
            sys.stderr.write("the spring broke\n")
            sys.stderr.flush()
            os._exit(3)

    return Dying(0)


def raises(source, *, threads):
    class Raising(Toy):
        calls = 0

        def run(self, feeds):
            self.calls += 1
            if self.calls > 40:
                raise RuntimeError("the spring broke after 40 calls")
            return super().run(feeds)

    return Raising(0.002)


def babbles(source, *, threads):
    class Babbling(Toy):
        def run(self, feeds):
            for descriptor in range(3, 30):  # find the protocol's own descriptor and spoil it
                try:
                    os.write(descriptor, b"this is not JSON\n")
                except OSError:
                    continue
            return super().run(feeds)

    return Babbling(0)


def refuses(source, *, threads):
    raise UsageError("the toy takes no coal;\ngive it a battery")


def damaged(source, *, threads):
    raise IntegrityError("toy.onnx: is damaged; export it again")


def full_disk(source, *, threads):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def fills_the_disk(source, *, threads):
    with source.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
