"""Open the graph of an artifact: the bytes that were checked, with the ports that the manifest states."""

from typing import Any

from compactor_runtimes.backends import Runtime, open_files
from compactor_runtimes.bundle.manifest import Artifact
from compactor_runtimes.bundle.open import Bundle
from compactor_runtimes.bundle.ports import check_ports
from compactor_runtimes.errors import IntegrityError


def open_artifact(
    bundle: Bundle,
    artifact: Artifact,
    *,
    runtime: str | None = None,
    threads: int | None = None,
    trust: bool = False,
    **options: Any,
) -> Runtime:
    """Open an artifact of a bundle with `runtime`, or with its default; see `backends.open_files`.

    Raises:
        UsageError: no such runtime, one that cannot open the artifact, or an engine without `trust`.
        UnfitEnvironmentError: this machine cannot run the artifact.
        IntegrityError: the artifact has no file, or its graph has other ports than the manifest says.
    """
    opened = open_files(
        artifact, bundle.file, runtime=runtime, threads=threads, trust=trust, read=bundle.read, **options
    )
    try:
        check_ports(bundle.manifest, opened, where=f"{bundle.path}: artifact {artifact.name!r}")
    except IntegrityError:
        opened.close()
        raise
    return opened
