"""What an exporter is given: the deployed module, its ports, and the weights that it may hold.

The torch forward used as the reference of every comparison lives here too, so that all of them read the ports
alike.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from compactor_runtimes.bundle.manifest import Calibration, InputPort, OutputPort, Post, Pre
from compactor_runtimes.errors import UsageError, needs_extra

if TYPE_CHECKING:
    import torch

    from compactor_exporters.verify.findings import Arrays


@dataclass(frozen=True)
class ExportSource:
    """A trained student, ready to be exported.

    `module` is the student's deploy(): in eval mode, takes tensors positionally in the order of `inputs`,
    returns a tuple in the order of `outputs` (or a single tensor). `example` holds one tensor an input, for a
    batch of 2. `student_weights` are the student's own parameters and buffers by name; the module may hold no
    others. `assets` are the files that `pre` names: path in the bundle -> file. `calibration` gives real
    samples for the ranges of static int8; None where no data are at hand.

    Raises:
        UsageError: the module is in training mode, or example and ports do not fit together.
    """

    name: str
    task: str
    module: "torch.nn.Module"
    example: "dict[str, torch.Tensor]"
    inputs: list[InputPort]
    outputs: list[OutputPort]
    pre: list[Pre]
    post: list[Post]
    labels: dict[str, list[str]]
    student_weights: "Mapping[str, torch.Tensor]"
    assets: dict[str, Path] = field(default_factory=dict)
    calibration: "Callable[[Calibration], Arrays] | None" = None

    def __post_init__(self) -> None:
        """Check what the exporters rely on."""
        if self.module.training:
            raise UsageError(
                f"export of {self.name!r}: the module is in training mode; call .eval() before exporting"
            )
        for port in self.inputs:
            found = tuple(self.example[port.name].shape) if port.name in self.example else None
            fits = found is not None and len(found) == len(port.axes) and found[:1] == (2,)
            if not fits or any(
                isinstance(a, int) and a != f for a, f in zip(port.axes, found or (), strict=False)
            ):
                raise UsageError(
                    f"export of {self.name!r}: example {port.name!r} has shape {found}, the port declares "
                    f"{port.axes} with a batch of 2; make example and port agree"
                )
        for name, (low, high) in self.axis_bounds.items():
            if high <= low:
                raise UsageError(
                    f"export of {self.name!r}: axis {name!r} ranges from {low} to {high}; a named axis "
                    f"is a dynamic "
                    "one and needs max > min, give a fixed axis as a number"
                )
        for output in self.outputs:
            if output.labels is not None and output.labels not in self.labels:
                raise UsageError(
                    f"export of {self.name!r}: output {output.name!r} names the label list "
                    f"{output.labels!r}, "
                    f"known lists are {sorted(self.labels)}"
                )

    @property
    def axis_bounds(self) -> dict[str, tuple[int, int]]:
        """Smallest and largest size of every named axis, the tightest that the input ports declare."""
        return axis_bounds(self.inputs)

    @property
    def batch_axis(self) -> str:
        """Name of the batch axis: the first axis of the first input.

        Raises:
            UsageError: that axis is fixed.
        """
        axis = self.inputs[0].axes[0]
        if not isinstance(axis, str):
            raise UsageError(
                f"export of {self.name!r}: the batch axis is fixed to {axis}; name it to make it dynamic"
            )
        return axis


def axis_bounds(ports: Sequence[InputPort]) -> dict[str, tuple[int, int]]:
    """Smallest and largest size of every named axis, the tightest that the ports declare."""
    bounds: dict[str, tuple[int, int]] = {}
    for port in ports:
        for axis, low, high in zip(port.axes, port.min, port.max, strict=True):
            if isinstance(axis, str):
                known = bounds.get(axis, (low, high))
                bounds[axis] = (max(low, known[0]), min(high, known[1]))
    return bounds


def check_deploy_weights(source: ExportSource) -> None:
    """Refuse a module that holds a parameter or buffer which is not the student's own.

    Sameness is sharing of storage: a copy of a student's weight is no longer what was trained and measured.
    Whole numbers that a module does not save (position ids) were never trained and are no weights.

    Raises:
        UsageError: names the weights that came from elsewhere (an adapter, an extra head, a teacher).
    """

    def place(tensor: "torch.Tensor") -> tuple[str, int]:
        return str(tensor.device), tensor.untyped_storage().data_ptr()

    own = {place(tensor) for tensor in source.student_weights.values()}
    saved = source.module.state_dict()
    held = [
        *source.module.named_parameters(),
        *((n, each) for n, each in source.module.named_buffers() if n in saved or each.is_floating_point()),
    ]
    foreign = sorted(name for name, tensor in held if tensor.numel() and place(tensor) not in own)
    if foreign:
        raise UsageError(
            f"export of {source.name!r}: the module to deploy holds {len(foreign)} weights that are not "
            f"the student's "
            f"own ({', '.join(foreign[:5])}{', ...' if len(foreign) > 5 else ''}); deploy() must return "
            f"the trained "
            "student without adapters, extra heads, teachers or copies"
        )


def forward(
    source: ExportSource, feeds: "Arrays", *, module: "torch.nn.Module | None" = None, double: bool = False
) -> "Arrays":
    """Run the student in torch, without gradient.

    Args:
        source: gives the module and the order of its inputs and outputs.
        feeds: one array for each input port, [B, ...].
        module: run this instead of `source.module` (a copy in another precision).
        double: feed floating-point inputs as float64.

    Returns:
        One array for each output port, in the precision the module computed in.

    Raises:
        UsageError: the module returned another number of outputs than the ports declare.
    """
    import numpy as np

    with needs_extra("export"):
        import torch

    parameters = list(source.module.parameters())
    device = parameters[0].device if parameters else torch.device("cpu")
    tensors = []
    for port in source.inputs:
        tensor = torch.from_numpy(np.ascontiguousarray(feeds[port.name])).to(device)
        tensors.append(tensor.double() if double and tensor.is_floating_point() else tensor)
    with torch.no_grad():
        returned = (module or source.module)(*tensors)
    values = (returned,) if isinstance(returned, torch.Tensor) else tuple(returned)
    if len(values) != len(source.outputs):
        raise UsageError(
            f"export of {source.name!r}: the module returned {len(values)} outputs, the ports declare "
            f"{[port.name for port in source.outputs]}"
        )
    return {port.name: value.cpu().numpy() for port, value in zip(source.outputs, values, strict=True)}
