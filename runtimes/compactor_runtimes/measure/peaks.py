"""What this machine reaches with so many threads: a float32 matrix product and a copy of memory, by NumPy.

Each is tried for about a second in a process of its own, whose BLAS is told the threads by its environment.
Started as `python -m compactor_runtimes.measure.peaks THREADS`.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter

import msgspec

from compactor_runtimes.errors import UnfitEnvironmentError
from compactor_runtimes.measure.anatomy import Peaks

_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")
_SECONDS = 0.8  # of each of the two, beside what comes before
_LIMIT_S = 120.0
_SMALLEST, _LARGEST, _LONG_S = 512, 4096, 0.02  # rows of a product: until one takes long enough
_LEAST_COPY, _MOST_COPY = 64 << 20, 512 << 20
_LAST_CACHE = Path("/sys/devices/system/cpu/cpu0/cache/index3/size")


def measure_peaks(threads: int, *, seconds: float = _SECONDS) -> Peaks:
    """Measure both peaks in a fresh process.

    Args:
        threads: threads of the product and of the copy, 1 or more.
        seconds: how long each is tried at least.

    Raises:
        UnfitEnvironmentError: the process failed or did not end.
    """
    environment = {**os.environ, **dict.fromkeys(_VARIABLES, str(threads))}
    environment["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
    command = [sys.executable, "-P", "-m", __name__, str(threads), str(seconds)]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_LIMIT_S, check=True
        )
        return msgspec.json.decode(done.stdout.encode(), type=Peaks)
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["it said nothing"])[-1]
        why = f"exit code {error.returncode}: {last}"
    except subprocess.TimeoutExpired:
        why = f"it took longer than {_LIMIT_S:.0f} s"
    except msgspec.DecodeError as error:
        why = f"it answered no peaks: {error}"
    raise UnfitEnvironmentError(
        f"peaks of this machine: could not be measured with {threads} threads ({why}); free memory and cores"
    )


def reach(threads: int, seconds: float) -> Peaks:
    """Measure here, in a process whose BLAS already has its number of threads."""
    import numpy as np

    rows, flops_per_s = _product(seconds)
    size, bytes_per_s = _copy(threads, seconds)
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return Peaks(
        flops_per_s=flops_per_s,
        bytes_per_s=bytes_per_s,
        threads=threads,
        measured_by=(
            f"NumPy {np.__version__} with {blas['name']} {blas['version']}: a float32 product of "
            f"{rows} x {rows}, a copy of {size >> 20} MiB"
        ),
    )


def _product(seconds: float) -> tuple[int, float]:
    """Rows of the matrices, and operations per second of the fastest product."""
    import numpy as np

    rows = _SMALLEST
    while True:
        left = np.random.default_rng(0).random((rows, rows), np.float32)
        right, out = left.T.copy(), np.empty_like(left)
        # the first starts the threads
        fastest = _fastest(partial(np.matmul, left, right, out=out), 0.0, at_least=3)
        if fastest >= _LONG_S or rows >= _LARGEST:
            break
        rows *= 2
    fastest = min(fastest, _fastest(partial(np.matmul, left, right, out=out), seconds))
    return rows, 2 * rows**3 / fastest


def _copy(threads: int, seconds: float) -> tuple[int, float]:
    """Bytes of the array that is copied, and bytes read and written per second of the fastest copy.

    The array is larger than the last cache by four; each thread copies a part of it.
    """
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    size = min(max(_LEAST_COPY, 4 * last_cache_bytes()), _MOST_COPY)
    source, target = np.ones(size // 8), np.zeros(size // 8)
    parts = list(zip(np.array_split(target, threads), np.array_split(source, threads), strict=True))

    with ThreadPoolExecutor(threads) as pool:

        def copy() -> None:
            list(pool.map(lambda part: np.copyto(*part), parts))

        fastest = _fastest(copy, seconds, at_least=3)
    return size, 2 * source.nbytes / fastest


def last_cache_bytes(path: Path = _LAST_CACHE) -> int:
    """Size of the last cache as the kernel says it ("32768K"), 0 where it does not."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return 0
    unit = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1:], 1)
    number = text.rstrip("KMG")
    return int(number) * unit if number.isdigit() else 0


def _fastest(work: Callable[[], object], seconds: float, *, at_least: int = 1) -> float:
    """Seconds of the fastest of several calls, which together take `seconds` or more."""
    times: list[float] = []
    begin = perf_counter()
    while len(times) < at_least or perf_counter() - begin < seconds:
        start = perf_counter()
        work()
        times.append(perf_counter() - start)
    return min(times)


if __name__ == "__main__":
    sys.stdout.write(msgspec.json.encode(reach(int(sys.argv[1]), float(sys.argv[2]))).decode())
