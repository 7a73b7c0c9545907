"""The seam between what computes a graph and everything that uses it: runtimes by name, rows of `table.py`.

Others pass a "module:attr" of theirs in the place of a name.
"""

from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol, cast

from msgspec import Struct

from compactor_runtimes.backends.table import RUNTIMES as RUNTIMES
from compactor_runtimes.backends.table import Backend as Backend
from compactor_runtimes.backends.table import find_runtime as find_runtime
from compactor_runtimes.bundle.manifest import Artifact, FileEntry
from compactor_runtimes.errors import IntegrityError, UnfitEnvironmentError, UsageError
from compactor_runtimes.tables import resolve

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from compactor_runtimes.measure.operators import Node, Operators


class Runtime(Protocol):
    """An opened graph: names of its inputs and outputs, and what really computes it (`provider`).

    One that knows them has `ports: Mapping[str, Port]` besides, by name, of inputs and outputs.
    """

    inputs: list[str]
    outputs: list[str]
    provider: str

    def run(self, feeds: "Mapping[str, NDArray[Any]]") -> "dict[str, NDArray[Any]]":
        """Compute every output for one set of inputs.

        Raises:
            UsageError: the graph refuses feeds of these names, shapes or types.
        """
        ...

    def close(self) -> None:
        """Release what the runtime holds; a second call does nothing."""
        ...


def open_runtime(runtime: str, source: Path, *, threads: int | None = None, **options: Any) -> Runtime:
    """Open `source` with a runtime.

    Args:
        runtime: a name in `RUNTIMES`, or "package.module:attr" of another opener.
        source: the file or folder that the opener reads.
        threads: threads within one operator; None leaves it to the runtime, but for a quota or affinity that
            leaves it fewer cores than the machine has.
        options: what this opener takes besides.

    Raises:
        UsageError: `runtime` names nothing.
        MissingDependency: the package behind the runtime is not installed.
        UnfitEnvironmentError: this machine cannot run it.
    """
    opener = runtime if ":" in runtime else find_runtime(runtime).opener
    return cast(Runtime, resolve(opener)(source, threads=threads, **options))


class State(Struct, frozen=True):
    """Whether a runtime can be used here; `detail` says on what it would run, or why not, in one sentence."""

    usable: bool
    detail: str


def state_of(runtime: str) -> State:
    """Look whether a runtime of the table can be used here, importing its package.

    Raises:
        UsageError: there is no runtime of that name.
    """
    probe = find_runtime(runtime).probe
    try:
        return State(True, resolve(probe)())
    except (
        UnfitEnvironmentError,
        ImportError,
        OSError,
        RuntimeError,
    ) as error:  # it may be there, and broken
        return State(False, " ".join(str(error).split()))


def timed_run(runtime: Runtime, feeds: "Mapping[str, NDArray[Any]]") -> "tuple[dict[str, NDArray[Any]], int]":
    """Run, and tell how much of it was copying inputs into the runtime's memory and outputs out of it.

    A runtime that copies has a method `timed_run` of its own, which may wait at seams where `run` does not.

    Returns:
        the outputs, and nanoseconds of copying: 0 of a runtime that has no such method.

    Raises:
        UsageError: the graph refuses feeds of these names, shapes or types.
    """
    own = getattr(runtime, "timed_run", None)
    return (runtime.run(feeds), 0) if own is None else own(feeds)


def operators_of(
    runtime: str,
    source: Path,
    feeds: "Mapping[str, NDArray[Any]]",
    *,
    threads: int | None = None,
    runs: int = 5,
    **options: Any,
) -> "Operators":
    """Open `source` once more and time its operators, one by one.

    Timing an operator takes time itself: the sum is above that of a run which is not looked at.

    Args:
        runtime: a name in `RUNTIMES`, or "package.module:attr" of an opener, which tells nothing.
        source: the file that the opener reads.
        feeds: arrays of one sample by name of input.
        threads: as in `open_runtime`.
        runs: how many runs each time is the mean of, after one that does not count.
        options: what the opener takes besides.

    Raises:
        UsageError: `runtime` names nothing, or the graph refuses the feeds.
        UnfitEnvironmentError: the runtime tells no times of operators, or cannot open the file here.
    """
    place = None if ":" in runtime else find_runtime(runtime).operators
    if place is None:
        raise UnfitEnvironmentError(
            f"runtime {runtime!r}: tells no times of its operators; measure it as a whole"
        )
    return cast("Operators", resolve(place)(source, feeds, threads=threads, runs=runs, **options))


def executed_nodes(
    source: Path, feeds: "Mapping[str, NDArray[Any]]"
) -> "tuple[list[Node], dict[str, NDArray[Any]]]":
    """Run an .onnx file once, as it is written, for the shapes of what its nodes read and wrote.

    Returns:
        its nodes as they ran, and its outputs.

    Raises:
        UsageError: the graph refuses the feeds.
        IntegrityError: the file is missing or is not a model that ONNX Runtime can read.
        MissingDependency: ONNX Runtime is not installed.
    """
    found = resolve(f"{__name__}.ort_operators:executed_nodes")(source, feeds)
    return cast("tuple[list[Node], dict[str, NDArray[Any]]]", found)


def runtimes_for(artifact: Artifact) -> list[str]:
    """Names of the runtimes that can open an artifact, the default first.

    That is the one on which it was verified, where it says so, or the first of the table. A verdict
    on a runtime that needs a GPU does not count, for others open the same file anywhere; ask for it by name,
    as for one that computes in another number type.
    """
    spec = artifact.spec
    able = [
        name
        for name, row in RUNTIMES.items()
        if spec.format in row.formats and (row.runs_fused or not spec.fused)
    ]

    def is_second(name: str) -> bool:
        row = RUNTIMES[name]
        return row.needs_gpu or bool(row.precision) or name not in artifact.runtimes

    return sorted(able, key=is_second)


def is_code(artifact: Artifact) -> bool:
    """Whether the artifact's files are code, as engines are: what opens them must trust their maker."""
    return any(RUNTIMES[name].is_code for name in runtimes_for(artifact))


def has_threads(runtime: str) -> bool:
    """Whether a number of threads means anything to a runtime; what is no name in the table takes one."""
    return ":" in runtime or not find_runtime(runtime).is_code


def open_files(
    artifact: Artifact,
    place: Callable[[str], Path],
    *,
    runtime: str | None = None,
    threads: int | None = None,
    trust: bool = False,
    read: Callable[[str], bytes] | None = None,
    **options: Any,
) -> Runtime:
    """Open an artifact's files with one of the runtimes that can.

    Args:
        artifact: the first of its files is opened, or the one that the runtime chooses for this machine.
        place: gives the path of a file by its name in the artifact.
        read: gives the content of a file by its name in the artifact, which is then what is opened; None =
            the runtime reads the disk.
        runtime: a name in `RUNTIMES`; None takes the artifact's default.
        threads: as in `open_runtime`.
        trust: whoever made the artifact is trusted with running code; without it no engine is opened.
        options: what the runtime's opener takes besides.

    Raises:
        UsageError: no such runtime, one that cannot open this artifact, or an engine without `trust`.
        IntegrityError: the artifact has no file, or a damaged one.
        MissingDependency, UnfitEnvironmentError: as in `open_runtime`.
    """
    name = choose_runtime(artifact, runtime)
    entry = file_of(artifact, name, trust=trust)
    said = options_of(name, trust=trust)
    if read is not None:
        folder = PurePosixPath(entry.path).parent
        files = [entry] if find_runtime(name).is_code else artifact.files
        beside = [each.path for each in files if PurePosixPath(each.path).is_relative_to(folder)]
        options["content"] = {
            str(PurePosixPath(path).relative_to(folder)): read(path) for path in dict.fromkeys(beside)
        }
    return open_runtime(name, place(entry.path), threads=threads, **said, **options)


def file_of(artifact: Artifact, runtime: str, *, trust: bool = False) -> FileEntry:
    """Choose the file of an artifact that a runtime opens on this machine.

    Args:
        artifact: the first of its files, or the one that the runtime chooses.
        runtime: a name in `RUNTIMES`.
        trust: without it nothing is chosen among files that are code, which are not opened either.

    Raises:
        UsageError: no such runtime.
        IntegrityError: the artifact has no file.
        MissingDependency, UnfitEnvironmentError: this machine has nothing to choose by.
    """
    row = find_runtime(runtime)
    if not artifact.files:
        raise IntegrityError(f"artifact {artifact.name!r} lists no file; export it again")
    if row.choose is None or (row.is_code and not trust):
        return artifact.files[0]
    return cast(FileEntry, resolve(row.choose)(artifact.files))


def options_of(runtime: str, *, trust: bool) -> dict[str, Any]:
    """What the opener of `runtime` takes of what is said of an artifact's maker."""
    return {"trust": trust} if find_runtime(runtime).is_code else {}


def choose_runtime(artifact: Artifact, runtime: str | None = None) -> str:
    """Name the runtime to open an artifact with: the one asked for, if it can, or its default.

    Raises:
        UsageError: there is no such runtime, or it cannot open this artifact.
    """
    able = runtimes_for(artifact)
    if runtime is None:
        return able[0]
    find_runtime(runtime)
    if runtime not in able:
        fused = " with operators of ONNX Runtime's own" if artifact.spec.fused else ""
        raise UsageError(
            f"artifact {artifact.name!r}: is of format {artifact.spec.format}{fused}, which runtime "
            f"{runtime!r} does not open; choose one of: {', '.join(able)}"
        )
    return runtime
