"""The two models that a bundle is listed as: one takes raw inputs, the other the graph's own tensors."""

from base64 import b64decode
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from compactor_runtimes.errors import InputError, UsageError
from compactor_runtimes.predict.model import Model
from compactor_runtimes.server.answer_tensors import AnswerTensors
from compactor_runtimes.server.batching import Batcher
from compactor_runtimes.server.tensors import BYTES, TensorSpec, datatype_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Feeds = dict[str, NDArray[Any]]


class Endpoint(Protocol):
    """What the protocol calls a model: tensors in, tensors out.

    Attributes:
        name: in paths.
        platform: what computes it.
        takes: inputs.
        gives: outputs.
    """

    name: str
    platform: str
    takes: list[TensorSpec]
    gives: list[TensorSpec]

    async def infer(self, inputs: dict[str, Any], names: Sequence[str], seconds: float) -> dict[str, Any]:
        """Compute outputs of these names from inputs that were checked against `takes`.

        Raises:
            CompactorError: see `Batcher.answer`.
        """


class RawEndpoint:
    """Texts or image files in, answers out; see `Endpoint`."""

    def __init__(self, name: str, model: Model, batcher: Batcher, queue: int) -> None:
        """Bind the model; at most `queue` inputs are taken at once."""
        self.name, self.platform = name, f"compactor_{model.artifact.spec.format}"
        self.model, self.batcher = model, batcher
        self._tensors = AnswerTensors(model.bundle.manifest)
        self.takes = [TensorSpec(model.takes, BYTES, [-1], [1], [queue])]
        self.gives = self._tensors.specs

    async def infer(self, inputs: dict[str, Any], names: Sequence[str], seconds: float) -> dict[str, Any]:
        """See `Endpoint`; one input that cannot be used refuses all, for a tensor has no place for that."""
        raws = [self.raw(one, place) for place, one in enumerate(inputs[self.model.takes])]
        answers = await self.batcher.answer_all(raws, seconds)
        for one in answers:
            if isinstance(one, InputError):
                raise one
        return dict(self._tensors(answers, names))

    def raw(self, given: str | bytes, place: int) -> str | bytes:
        """What the model is given for a string of JSON or for bytes: a text, or the content of an image file.

        Raises:
            InputError: no base64 where an image is expected, no UTF-8 where a text is.
        """
        try:
            if self.model.takes == "text":
                return given if isinstance(given, str) else given.decode()
            return b64decode(given, validate=True) if isinstance(given, str) else given
        except UnicodeDecodeError as error:
            raise InputError(place, f"text: is no UTF-8 ({error.reason}); send UTF-8") from error
        except ValueError as error:
            raise InputError(
                place, f"image: is no base64 ({error}); send a file's bytes as base64 in JSON"
            ) from error


class GraphCalls:
    """A model's graph as what a `Batcher` calls: feeds in, raw outputs out, each as large as it came."""

    def __init__(self, model: Model) -> None:
        """Bind the model, which owns the graph and closes it."""
        self._model = model

    def predict(self, inputs: "list[Feeds]", *, on_error: Any) -> "list[Feeds | InputError]":
        """Run each; what the graph refuses is its sender's fault, who made the numbers."""
        return [self._run(place, feeds) for place, feeds in enumerate(inputs)]

    def _run(self, place: int, feeds: "Feeds") -> "Feeds | InputError":
        try:
            return self._model.run(feeds)
        except UsageError as error:
            return InputError(place, str(error))


class GraphEndpoint:
    """The graph's own inputs and outputs; see `Endpoint`."""

    def __init__(self, name: str, model: Model, batcher: Batcher) -> None:
        """Bind the ports of the manifest, which were compared with the graph's."""
        main = model.bundle.manifest.main
        self.name, self.platform = name, f"compactor_{model.artifact.spec.format}"
        self._batcher = batcher
        self._axes = {port.name: port.axes for port in main.inputs}
        self.takes = [
            TensorSpec(port.name, datatype_of(port.dtype) or "", _sizes(port.axes), port.min, port.max)
            for port in main.inputs
        ]
        self.gives = [
            TensorSpec(port.name, datatype_of(port.dtype) or "", _sizes(port.axes)) for port in main.outputs
        ]

    @staticmethod
    def fits(model: Model) -> bool:
        """Whether all ports have number types that the protocol knows."""
        main = model.bundle.manifest.main
        types = [port.dtype for port in main.inputs] + [port.dtype for port in main.outputs]
        return all(map(datatype_of, types))

    async def infer(self, inputs: "Feeds", names: Sequence[str], seconds: float) -> dict[str, Any]:
        """See `Endpoint`; axes of one name have one size, or a graph would repeat what is shorter."""
        sizes: dict[str, tuple[str, int]] = {}
        for name, array in inputs.items():
            for axis, size in zip(self._axes[name], array.shape, strict=True):
                if isinstance(axis, str) and sizes.setdefault(axis, (name, size))[1] != size:
                    other, known = sizes[axis]
                    raise UsageError(
                        f"inputs: axis {axis!r} is {known} in {other!r} and {size} in {name!r}, one size "
                        "expected"
                    )
        outputs = await self._batcher.answer(inputs, seconds)
        return {name: outputs[name] for name in names}


def _sizes(axes: Sequence[str | int]) -> list[int]:
    return [axis if isinstance(axis, int) else -1 for axis in axes]
