"""Whether a graph is the one that the manifest describes: names, types and sizes of what goes in and out."""

from typing import Any

from compactor_runtimes.backends.ports import Port
from compactor_runtimes.bundle.manifest import InputPort, Manifest, OutputPort
from compactor_runtimes.errors import IntegrityError


def check_ports(manifest: Manifest, runtime: Any, *, where: str) -> None:
    """Compare the ports of an opened graph with those of the manifest.

    Of a runtime that does not tell types and sizes only the names are compared.

    Args:
        manifest: the bundle's.
        runtime: see `backends.Runtime`.
        where: begins the message.

    Raises:
        IntegrityError: a port is missing, added, or another one.
    """
    main = manifest.main
    for what, found, ports in (
        ("inputs", runtime.inputs, main.inputs),
        ("outputs", runtime.outputs, main.outputs),
    ):
        expected = sorted(port.name for port in ports)
        if sorted(found) != expected:
            raise IntegrityError(
                f"{where} has {what} {sorted(found)}, the manifest says {expected}; export it again"
            )
    known: dict[str, Port] = getattr(runtime, "ports", {})
    listed: list[InputPort | OutputPort] = [*main.inputs, *main.outputs]
    for port in listed:
        found = known.get(port.name)
        if found is not None and not _fits(port, found):
            axes = ["unknown"] if found.axes is None else [str(one or "any") for one in found.axes]
            raise IntegrityError(
                f"{where} has {port.name!r} as {found.dtype} with axes {', '.join(axes)}, the manifest says "
                f"{port.dtype} with {port.axes}; export it again"
            )


def _fits(port: InputPort | OutputPort, found: Port) -> bool:
    """Whether the graph takes or gives what the manifest says; it may leave open what that fixes."""
    if found.dtype != port.dtype:
        return False
    if found.axes is None:
        return True
    if len(found.axes) != len(port.axes):
        return False
    lows, highs = (port.min, port.max) if isinstance(port, InputPort) else (port.axes, port.axes)
    return all(
        size is None or not isinstance(low, int) or low == size == high
        for size, low, high in zip(found.axes, lows, highs, strict=True)
    )
