"""Open a bundle for predicting: which artifact, on which runtime, and whether it may be trusted.

Only what is used is read and hashed: the artifact's files and the tokenizer. `verify` reads all.
"""

import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

from compactor_runtimes.backends import Runtime, choose_runtime, find_runtime, is_code
from compactor_runtimes.backends.refusals import check_threads
from compactor_runtimes.bundle.manifest import Artifact
from compactor_runtimes.bundle.open import Bundle, open_bundle
from compactor_runtimes.bundle.opening import open_artifact
from compactor_runtimes.errors import (
    NumericGateError,
    UnfitEnvironmentError,
    UsageError,
)
from compactor_runtimes.objects import local_copy
from compactor_runtimes.predict.limits import Limits, with_formats
from compactor_runtimes.predict.model import Call, Model

AUTO = "auto"


def load(
    path: str | Path,
    *,
    artifact: str | None = None,
    runtime: str | None = None,
    threads: int | None = None,
    spinning: bool | None = None,
    trust: bool = False,
    verify: bool = False,
    limits: Limits | None = None,
    formats: Sequence[str] = (),
    trusted_keys: Sequence[str | Path] = (),
    profile: str | Path | None = None,
    observe: Callable[[Call], None] | None = None,
) -> Model:
    """Open a bundle and one of its verified artifacts.

    Warns with UserWarning where int8 was judged on a CPU whose 8-bit sums differ from this one's, and where
    the profile is of another machine.

    Args:
        path: the bundle's folder, or a zip file of it, which is unpacked for as long as it is opened; or the
            address of either in an object store.
        artifact: name of the artifact; None takes the profile's, or the bundle's default.
        runtime: what computes it, a name in `compactor_runtimes.backends.RUNTIMES`; None takes the profile's,
            or the artifact's default. "auto" takes the first artifact whose golden cases pass on this
            machine, the profile's or the bundle's default before the others.
        threads: threads within one operator; None takes the profile's, or leaves it to the runtime, which
            takes the usable cores where a quota or affinity leaves fewer than the machine has. With one no
            thread is started.
        spinning: whether threads of ONNX Runtime wait for the next call by spinning, which takes cores from
            others; None takes the profile's, or spins where there are more than two cores to use.
        trust: whoever made the bundle is trusted with running code, which an engine is. An engine that was
            built but not run, because its GPU was not there, may then be loaded by its name.
        verify: whether to read every file of the bundle and re-run the golden cases of what is loaded.
        limits: what one input may be, and how long a call may take; None takes the defaults.
        formats: of image files to read besides those of the limits, by PIL's names, such as "BMP".
        trusted_keys: public keys (PEM); a bundle that none of them signed is refused.
        profile: a file that `compactor measure` wrote of this bundle on this machine; what it recommends is
            loaded, as far as nothing else is said.
        observe: is told of each call of `predict`, in its thread: for metrics.

    Raises:
        UsageError: no such folder, no verified artifact of that name, no such runtime or one that cannot
            open the artifact, an engine without `trust`, `threads` that the runtime does not take, a limit
            of time where it cannot be kept, or a profile that does not recommend this bundle.
        IntegrityError: the bundle or the profile is damaged.
        NumericGateError: golden cases do not pass here, and `verify` or "auto" asked for that.
        MissingDependency: the package behind the runtime is not installed.
        UnfitEnvironmentError: this machine cannot run the artifact.
    """
    if runtime not in (None, AUTO):
        find_runtime(str(runtime))  # a slip in the name is said before all else
    if isinstance(path, str | PathLike):  # all else is refused where it is opened
        path = local_copy(path, what="bundle")
    check_threads(threads)
    limits = with_formats(Limits() if limits is None else limits, formats)
    wanted = _Wanted(artifact, runtime, threads, {} if spinning is None else {"spinning": spinning})
    begin = perf_counter()
    with _folder_of(path) as folder:
        bundle = open_bundle(folder, check=verify, trusted_keys=trusted_keys)
        if profile is not None:
            wanted = _advised(bundle, Path(profile), wanted)
        model = _opened(bundle, wanted, limits, trust=trust, verify=verify)
    model.bundle = replace(bundle, path=Path(path))
    model.observe = observe
    model.again = partial(
        load,
        Path(path).absolute(),
        artifact=artifact,
        runtime=runtime,
        threads=threads,
        spinning=spinning,
        trust=trust,
        limits=limits,
        trusted_keys=[Path(key).absolute() for key in trusted_keys],
        profile=None if profile is None else Path(profile).absolute(),
        observe=observe,
    )
    if logging := sys.modules.get("logging"):  # where nobody imported it nobody would hear
        logging.getLogger("compactor_runtimes").info("loaded %r in %.3f s", model, perf_counter() - begin)
    return model


def _folder_of(path: str | Path) -> AbstractContextManager[str | Path]:
    """The folder of a bundle for the block, for as long as it is opened."""
    if not _is_zip(path):
        return nullcontext(path)
    from compactor_runtimes.bundle.archive import unpacked  # most bundles are folders

    return unpacked(Path(path))


def _is_zip(path: object) -> bool:
    """Whether a path is that of a file whose name says so; its content is looked at when it is unpacked."""
    return isinstance(path, str | PathLike) and str(path).lower().endswith(".zip")


def _opened(bundle: Bundle, wanted: "_Wanted", limits: Limits, *, trust: bool, verify: bool) -> Model:
    """Open what is wanted, or what may stand in for it."""
    candidates = _candidates(bundle, wanted, trust=trust)
    doubt = doubt_of_int8(bundle, candidates[0])
    if doubt is not None:
        warnings.warn(doubt, stacklevel=3)
    own = None if wanted.runtime == AUTO else wanted.runtime

    def opening(candidate: Artifact) -> Runtime:
        name = choose_runtime(candidate, own)
        options = _options_for(name, wanted.options)
        return open_artifact(bundle, candidate, runtime=name, threads=wanted.threads, trust=trust, **options)

    if verify or wanted.runtime == AUTO:
        candidate, opened = _first_passing(bundle, candidates, opening)
    else:
        (candidate,) = candidates
        opened = opening(candidate)
    try:
        if limits.seconds is not None and not hasattr(opened, "run_within"):
            raise UsageError(
                f"limits.seconds: {opened.provider} cannot be stopped; give no limit of time, or another "
                "runtime"
            )
        return Model(bundle, candidate, opened, limits=limits)
    except BaseException:
        opened.close()
        raise


def _options_for(runtime: str, options: dict[str, Any]) -> dict[str, Any]:
    """What `runtime` takes of the options: one whose threads never spin needs not be told not to."""
    if "spinning" not in options or find_runtime(runtime).runs_fused:  # ONNX Runtime's own pool of threads
        return options
    if options["spinning"]:
        raise UsageError(f"spinning: threads of runtime {runtime!r} have no such setting; leave it out")
    return {name: value for name, value in options.items() if name != "spinning"}


class _Wanted(NamedTuple):
    """What is to be opened, as far as it was said."""

    artifact: str | None
    runtime: str | None
    threads: int | None
    options: dict[str, Any]


def _advised(bundle: Bundle, profile: Path, wanted: _Wanted) -> _Wanted:
    """What a profile recommends, where nothing else was said."""
    from compactor_runtimes.profiling.recommended import recommended

    advice = recommended(bundle, profile)
    for each in advice.doubts:
        warnings.warn(each, stacklevel=3)
    if wanted.artifact not in (None, advice.artifact) or wanted.runtime not in (None, AUTO, advice.runtime):
        return wanted
    threads = advice.threads if wanted.threads is None else wanted.threads
    options = advice.options | wanted.options
    return _Wanted(advice.artifact, wanted.runtime or advice.runtime, threads, options)


def _candidates(bundle: Bundle, wanted: _Wanted, *, trust: bool) -> list[Artifact]:
    """The artifact to open; those that may stand in for it follow where the choice is ours."""
    default = bundle.manifest.default_artifact
    first = _find(bundle, default if wanted.artifact is None else wanted.artifact)
    if wanted.runtime != AUTO or wanted.artifact is not None:
        return [first]
    others = [each for each in bundle.manifest.main.artifacts if each.ships and each != first]
    return [first, *(each for each in others if trust or not is_code(each))]


def _find(bundle: Bundle, wanted: str) -> Artifact:
    """The artifact of a name that ships, or an engine that was built and not run."""
    for candidate in bundle.manifest.main.artifacts:
        engine = is_code(candidate) and candidate.status == "not-run" and candidate.files
        if candidate.name == wanted and (candidate.ships or engine):
            return candidate
    listed = ", ".join(f"{each.name} ({each.status})" for each in bundle.manifest.main.artifacts)
    raise UsageError(f"{bundle.path}: no verified artifact {wanted!r}; choose a verified one of: {listed}")


def _first_passing(
    bundle: Bundle, candidates: list[Artifact], opening: Callable[[Artifact], Runtime]
) -> tuple[Artifact, Runtime]:
    """Open the first artifact whose golden cases pass here; what was refused first is said if none does."""
    from compactor_runtimes.golden.verify import check_here

    failed: list[NumericGateError | UnfitEnvironmentError] = []
    for candidate in candidates:
        try:
            opened = opening(candidate)
        except UnfitEnvironmentError as error:
            failed.append(error)
            continue
        try:
            check_here(bundle, candidate, opened)
        except NumericGateError as error:
            opened.close()
            failed.append(error)
        except BaseException:
            opened.close()
            raise
        else:
            return candidate, opened
    raise failed[0]


def doubt_of_int8(bundle: Bundle, artifact: Artifact) -> str | None:
    """Say that an int8 artifact was judged on other instructions than this CPU's; None where they are alike.

    Without 8-bit dot products sums may saturate. Where nothing is known of a CPU nothing is said.
    """
    if artifact.spec.precision != "int8" or not artifact.isa:
        return None
    from compactor_runtimes.environment import has_int8_dot, isa_flags  # a quarter of the time to import

    here = isa_flags()
    if not here or has_int8_dot(here) == has_int8_dot(artifact.isa):
        return None
    there, now = ("with", "none") if has_int8_dot(artifact.isa) else ("without", "them")
    return (
        f"{bundle.path}: artifact {artifact.name!r} was verified on a CPU {there} 8-bit dot products "
        f"({' '.join(artifact.isa)}), this one has {now} ({' '.join(here)}), so its answers may differ; run "
        f"`compactor verify {bundle.path}` here"
    )
