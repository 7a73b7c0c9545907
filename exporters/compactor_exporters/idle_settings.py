"""Settings of an export entry that would have no effect are refused, not ignored."""

from compactor_runtimes.bundle.manifest import ExportSpec


def refuse_idle(spec: ExportSpec, *names: str) -> str | None:
    """Say which of the settings `names` were given although this kind of export does not read them."""
    idle = [name for name in names if getattr(spec, name) != getattr(ExportSpec(), name)]
    if not idle:
        return None
    return f"{spec.kind} takes no {' and no '.join(idle)}; remove that or ask for another precision"
