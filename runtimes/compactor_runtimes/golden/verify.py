"""Re-run a bundle's golden cases on this machine, through every artifact that can run here.

The checks themselves are in `checks.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import Struct

from compactor_runtimes.backends import (
    RUNTIMES,
    Runtime,
    choose_runtime,
    find_runtime,
    has_threads,
    is_code,
    runtimes_for,
)
from compactor_runtimes.backends.refusals import UNTRUSTED
from compactor_runtimes.bundle.manifest import Artifact
from compactor_runtimes.bundle.open import Bundle, open_bundle, read_cases
from compactor_runtimes.bundle.opening import open_artifact
from compactor_runtimes.errors import (
    IntegrityError,
    NumericGateError,
    UnfitEnvironmentError,
    UsageError,
    needs_extra,
    one_line,
)
from compactor_runtimes.golden.checks import check_artifact, check_preprocessing
from compactor_runtimes.golden.findings import Case, Row
from compactor_runtimes.golden.served import check_served
from compactor_runtimes.predict.answering import words_from
from compactor_runtimes.predict.answers import open_codec
from compactor_runtimes.predict.text import Words

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from compactor_runtimes.golden.findings import Arrays


class Verification(Struct, frozen=True, kw_only=True):
    """The verdict on a bundle's golden cases; true if all passed.

    `not_run` names artifacts that were not run, `reasons` says why, by name, as far as that is known.
    """

    bundle: str
    name: str
    rows: list[Row]
    not_run: list[str] = []
    reasons: dict[str, str] = {}

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(row.passed for row in self.rows)

    def __bool__(self) -> bool:
        """The verdict is the truth value."""
        return self.passed

    def raise_for_gate(self) -> None:
        """Turn a failed verification into an error.

        Raises:
            NumericGateError: a check failed; the message names artifact, case, output, found and limit.
        """
        failed = [row for row in self.rows if not row.passed]
        if failed:
            more = f" (and {len(failed) - 1} more failed checks)" if len(failed) > 1 else ""
            first = failed[0]
            raise NumericGateError(
                f"{self.bundle}: artifact {first.artifact!r}, {first.check}: {first.detail}{more}; "
                "do not serve this bundle here, export it again on a machine where it verifies"
            )


def verify_bundle(
    path: str | Path, *, runtime: str | None = None, threads: int | None = None, trust: bool = False
) -> Verification:
    """Open a bundle and run its golden cases through every verified artifact that this machine can run.

    Args:
        path: the bundle's folder.
        runtime: a name in `compactor_runtimes.backends.RUNTIMES`, which runs every artifact that it can open;
            None runs each on its default. One that computes in another number type is refused, because the
            limits in the bundle are not for it.
        threads: threads within one operator, for runtimes that have any; None leaves it to the runtime.
        trust: whoever made the bundle is trusted with running code, so that verified engines run as well.

    Returns:
        the verdict on each check, failed ones included; a difference is a result here, and an error only in
        `raise_for_gate`. An artifact that this machine cannot open is listed with the reason, as long as
        another runs.

    Raises:
        UsageError: no such folder, no such runtime, one that can open none of the artifacts or engines alone
            while `trust` is missing, or `threads` out of range.
        IntegrityError: the bundle is damaged or states no limit for an output, or a graph has other ports
            than the manifest says.
        UnfitEnvironmentError: no verified artifact can run here, so nothing would be verified.
        MissingDependency: nothing runs, and the first for want of a package.
    """
    if runtime is not None:
        row = find_runtime(runtime)  # a slip in the name is said before all else
        if row.precision:
            raise UsageError(
                f"runtime {runtime!r}: computes in {row.precision}, for which the limits in a bundle do not "
                f"hold; judge it by its answers on samples: compactor measure {path} --runtime {runtime}"
            )
    bundle = open_bundle(path)
    manifest = bundle.manifest
    ships = [each for each in manifest.main.artifacts if each.ships]
    able = [each for each in ships if runtime is None or runtime in runtimes_for(each)]
    if ships and not able:
        choose_runtime(ships[0], runtime)  # says why not
    runnable = [each for each in able if trust or not is_code(each)]
    if able and not runnable and runtime is not None:
        raise UsageError(f"{bundle.path}: artifact {able[0].name!r}: {UNTRUSTED}")
    # A rejected artifact was left out of the bundle: there is nothing that another machine could run.
    others = [each for each in manifest.main.artifacts if each.status != "rejected" and each not in runnable]
    if not runnable:
        not_run = [each.name for each in others]
        formats = sorted({name for row in RUNTIMES.values() if not row.is_code for name in row.formats})
        raise UnfitEnvironmentError(
            f"{bundle.path}: holds no verified artifact of a format that runs here ({', '.join(formats)}), "
            f"not run: {', '.join(not_run) or 'none'}; verify it on the machine it is meant for"
        )
    cases = read_golden(bundle)
    rows = _of_preprocessing(bundle, cases)
    unfit: dict[str, UnfitEnvironmentError] = {}
    for artifact in runnable:
        _need_limits(bundle, artifact)
        try:
            opened = _open(bundle, artifact, runtime, threads=threads, trust=trust)
        except UnfitEnvironmentError as error:
            unfit[artifact.name] = error
            continue
        with closing(opened):
            rows += check_artifact(opened, manifest, artifact, cases)
            rows += check_served(bundle, artifact, opened, cases)
    if len(unfit) == len(runnable):
        raise unfit[runnable[0].name]
    known = {each.name: _why_not(each, runtime) for each in others}
    reasons = known | {name: str(error) for name, error in unfit.items()}
    return Verification(
        bundle=str(bundle.path),
        name=manifest.name,
        rows=rows,
        not_run=[each.name for each in manifest.main.artifacts if each.name in reasons],
        reasons={name: reason for name, reason in reasons.items() if reason},
    )


def _of_preprocessing(bundle: Bundle, cases: list[Case]) -> list[Row]:
    return [check_preprocessing(bundle, pre, cases) for pre in bundle.manifest.pre]


def _open(
    bundle: Bundle, artifact: Artifact, runtime: str | None, *, threads: int | None, trust: bool
) -> Runtime:
    name = choose_runtime(artifact, runtime)
    own = threads if has_threads(name) else None
    return open_artifact(bundle, artifact, runtime=name, threads=own, trust=trust)


def _why_not(artifact: Artifact, runtime: str | None) -> str:
    """Say why an artifact is not even tried; "" where its maker said nothing."""
    if not artifact.ships:
        return artifact.reason
    if runtime is not None and runtime not in runtimes_for(artifact):
        return f"runtime {runtime!r} does not open it"
    return UNTRUSTED


def _need_limits(bundle: Bundle, artifact: Artifact) -> None:
    for port in bundle.manifest.main.outputs:
        if port.name not in artifact.limits:
            raise IntegrityError(
                f"{bundle.path}: artifact {artifact.name!r} states no limit for output {port.name!r}; "
                "export the bundle again"
            )


def check_here(bundle: Bundle, artifact: Artifact, runtime: Runtime) -> None:
    """Run a bundle's golden cases through one artifact that is open.

    Raises:
        NumericGateError: one does not pass.
        IntegrityError: golden cases that are damaged, or no limit for an output.
    """
    _need_limits(bundle, artifact)
    cases = read_golden(bundle)
    rows = _of_preprocessing(bundle, cases) + check_artifact(runtime, bundle.manifest, artifact, cases)
    found = Verification(bundle=str(bundle.path), name=bundle.manifest.name, rows=rows)
    found.raise_for_gate()


class Expected(NamedTuple):
    """An array of a golden case: its port, numpy's name of its type, and its number of axes."""

    name: str
    dtype: str
    rank: int


def read_golden(bundle: Bundle) -> list[Case]:
    """Read the golden cases with their arrays.

    Raises:
        IntegrityError: arrays that are damaged, missing or of another shape.
    """
    with needs_extra("ort"):
        from safetensors import SafetensorError
        from safetensors.numpy import load

    path = bundle.file(bundle.manifest.golden.tensors)
    content = bundle.read(bundle.manifest.golden.tensors)
    try:
        tensors: Arrays = load(content)
    except (SafetensorError, KeyError, AttributeError, TypeError, ValueError) as error:
        # it raises these for types that numpy lacks
        raise IntegrityError(
            f"{path}: is not a safetensors file of numbers ({one_line(error)}); export it again"
        ) from error

    def pick(keys: Mapping[str, str], ports: Sequence[Expected], what: str) -> "Arrays":
        for port in ports:
            values = tensors.get(keys.get(port.name, ""))
            if values is None or len(values.shape) != port.rank or values.shape[0] != 1:
                found = "no array" if values is None else f"shape {list(values.shape)}"
                raise IntegrityError(
                    f"{path}: {found} found for {port.name!r} of {what}, [1, ...] of {port.rank} axes "
                    "expected; export it again"
                )
            if values.dtype != port.dtype:
                raise IntegrityError(
                    f"{path}: {values.dtype} found for {port.name!r} of {what}, {port.dtype} expected; "
                    "export it again"
                )
        return {port.name: tensors[keys[port.name]] for port in ports}

    main = bundle.manifest.main
    inputs, outputs = (
        [Expected(port.name, port.dtype, len(port.axes)) for port in ports]
        for ports in (main.inputs, main.outputs)
    )
    to_words = words_from(bundle.manifest.pre, bundle.manifest.post, bundle.path, read=bundle.read)
    codecs = [open_codec(post, bundle.manifest.labels) for post in bundle.manifest.post]
    cases = []
    for case in read_cases(bundle):
        what = f"golden case {case.id!r}"

        def array(key: str, what: str = what) -> "NDArray[Any]":
            return pick({"the vector": key}, [Expected("the vector", "float32", 2)], what)["the vector"]

        try:
            decoded = [codec.read(case.decoded, array) for codec in codecs]
        except msgspec.ValidationError as error:
            raise IntegrityError(
                f"{bundle.path}: decoded result of {what}: {error}; export the bundle again"
            ) from error
        feeds, expected = pick(case.feeds, inputs, what), pick(case.outputs, outputs, what)
        cases.append(Case(case, decoded, feeds, expected, _words_of(to_words, bundle.read(case.raw))))
    return cases


def _words_of(read: Callable[[Sequence[Any]], list[Words]], raw: bytes) -> Words | None:
    try:
        return next(iter(read([raw])), None)
    except UsageError:  # the check on preprocessing tells it
        return None
