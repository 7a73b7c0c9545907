"""Predict with one artifact of a bundle, from raw images or texts; opening it is `loading.py`.

1. Many inputs are answered in parts of the graph's largest batch; texts are sorted by length within a window,
   because a batch is padded to its longest, and images of one size go together. Answers keep the order.
2. What a graph refuses of feeds that were made as the manifest says is the bundle's fault, not the caller's.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self, overload

from compactor_runtimes.backends import Runtime
from compactor_runtimes.backends.refusals import FeedsRefused
from compactor_runtimes.bundle.manifest import Artifact, ImagePre, OutputPort, TextPre
from compactor_runtimes.bundle.open import Bundle
from compactor_runtimes.errors import InputError, IntegrityError, UsageError
from compactor_runtimes.predict.answering import ImageSteps, Steps, TextSteps
from compactor_runtimes.predict.answers import Answer, Answers, decoder_from
from compactor_runtimes.predict.limits import Limits
from compactor_runtimes.predict.text import TextPipeline

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL.Image import Image as PILImage

    from compactor_runtimes.predict.decode import Raw

    Arrays = dict[str, NDArray[Any]]

WINDOW = 2048  # texts that are sorted together; images are decoded batch by batch
OnError = Literal["raise", "return"]
_ONE, _SEVERAL = (str, bytes), (list, tuple)  # made once, as `str | bytes` would not be


class Call(NamedTuple):
    """One call of `predict`: inputs, seconds, and the name of the error that it raised, or ""."""

    inputs: int
    seconds: float
    error: str


class Model:
    """Raw images or texts in, predictions, embeddings or slots out. A context manager; threads may share it.

    Attributes:
        takes: "text" for a bundle of a text model: there a str is a text, never a path.
        labels: class names in the order of the logits (of a model of intents and slots: the intents); empty
            for an embedding model.
        decode: turns outputs into answers, and says what to print of one.
        limits: what one input may be.
        observe: is told of each call of `predict`; None = nobody is.
        again: loads the same model in another process; None = it cannot be pickled.
    """

    def __init__(
        self,
        bundle: Bundle,
        artifact: Artifact,
        runtime: Runtime,
        *,
        limits: Limits | None = None,
    ) -> None:
        """Bind preprocessing, graph and decoding, so that a call looks nothing up.

        Args:
            bundle: the bundle.
            artifact: one of its artifacts.
            runtime: which opened it.
            limits: what one input may be; None takes the defaults.

        Raises:
            UsageError: the bundle is not one image or text with an answer, or takes no batch of one.
            IntegrityError: the bundle's tokenizer is none.
        """
        manifest = bundle.manifest
        inputs, pre = manifest.main.inputs, manifest.pre[0] if manifest.pre else None
        fed = [pre.ids, pre.mask] if isinstance(pre, TextPre) else [pre.input] if pre else []
        if len(manifest.pre) != 1 or {port.name for port in inputs} != set(fed):
            raise UsageError(
                f"{bundle.path}: {len(inputs)} inputs and {len(manifest.pre)} pre entries found, one each "
                "expected by predict() (of a text: ids and mask); run the graph with "
                "compactor_runtimes.bundle.opening.open_artifact"
            )
        ports = {port.name: port for port in inputs}
        port = ports[fed[0]]
        if port.min[0] != 1:
            raise UsageError(
                f"{bundle.path}: smallest batch is {port.min[0]}, expected 1; export it with a dynamic batch"
            )
        self.decode, first = decoder_from(manifest.post, manifest.labels), manifest.post[0]
        self.bundle = bundle
        self.artifact = artifact
        self.takes: Literal["image", "text"] = "text" if isinstance(pre, TextPre) else "image"
        self.labels = self.decode.labels
        self.limits = Limits() if limits is None else limits
        self.observe: Callable[[Call], None] | None = None
        self.again: Callable[[], Model] | None = None
        self._runtime = runtime
        self._steps: Steps
        if isinstance(pre, ImagePre):
            from compactor_runtimes.predict.images import ImagePipeline  # a model of texts starts without

            self._steps, self._sample_axes = ImageSteps(ImagePipeline(pre, self.limits), self.decode, port), 3
        elif isinstance(pre, TextPre):
            pipeline = TextPipeline(pre, bundle.path, self.limits, bundle.read(pre.tokenizer))
            self._steps, self._sample_axes = TextSteps(pipeline, self.decode), 0
        self._output = next(each for each in manifest.main.outputs if each.name == first.output)
        self._max_batch = min(each.max[0] for each in inputs)
        self._window = WINDOW if self.takes == "text" else self._max_batch

    @overload
    def predict(self, inputs: "str | Path | bytes | PILImage", *, on_error: OnError = ...) -> Answer: ...
    @overload
    def predict(self, inputs: "list[Any] | tuple[Any, ...]", *, on_error: OnError = ...) -> Answers: ...
    @overload
    def predict(self, inputs: "NDArray[Any]", *, on_error: OnError = ...) -> "Answer | Answers": ...
    @overload
    def predict(self, inputs: Iterator[Any], *, on_error: OnError = ...) -> Iterator[Answer]: ...
    def predict(self, inputs: Any, *, on_error: OnError = "raise") -> Any:
        """Answer for one image or text, or give a list for a list, a tuple or an array of several.

        Args:
            inputs: For an image model: a path, the bytes of a file, an open file, a PIL image or a uint8
                array [H, W, C]; several may be one array [B, H, W, C]. For a text model: a str, which is the
                text itself, UTF-8 bytes, the Path of a text file, or an open file; a text of more tokens than
                the model takes is cut. A generator of inputs gives a generator of answers.
            on_error: "return" puts an InputError in the place of the answer for an input that cannot be used.

        Returns:
            A `Prediction` for each input, a `LabelSet` where any number of labels may be true, an `Embedding`
            if the bundle is an embedding model, and of a model that finds slots a `Tagging`, or with an
            intent an `Understanding`.

        Raises:
            UsageError: an input that cannot be read or is beyond the limits (of several an InputError, which
                has its index), or an image of a size that the graph does not take.
            IntegrityError: the graph fails, or gives what is no answer.
            TimeLimitError: the graph took longer than `limits.seconds`.
        """
        if on_error not in ("raise", "return"):
            raise UsageError(f"on_error: got {on_error!r}, expected 'raise' or 'return'")
        if not isinstance(inputs, _ONE) and isinstance(inputs, Iterator) and not hasattr(inputs, "read"):
            return self._stream(inputs, on_error)
        if self.observe is None:
            return self._predict(inputs, on_error)
        begin, failed = perf_counter(), ""
        try:
            return self._predict(inputs, on_error)
        except Exception as error:
            failed = type(error).__name__
            raise
        finally:
            count = len(inputs) if self._is_batch(inputs) else 1
            self.observe(Call(count, perf_counter() - begin, failed))

    def _predict(self, inputs: Any, on_error: OnError) -> Any:
        """Answer, of what is no generator."""
        if not self._is_batch(inputs):
            try:
                items = self._steps.prepare([inputs])
            except InputError as error:
                if on_error == "return":
                    return InputError(0, error.reason)
                raise UsageError(error.reason) from error
            return self._answers(items)[0]
        if len(inputs) > self.limits.items:
            raise UsageError(
                f"inputs: {len(inputs):,} found, at most {self.limits.items:,} expected in a call; give a "
                "generator, or raise limits.items"
            )
        answers: list[Any] = []
        for start in range(0, len(inputs), self._window):
            answers += self._answer(inputs[start : start + self._window], start, on_error)
        return answers

    def logits(self, inputs: "Raw | list[Any] | tuple[Any, ...]") -> "NDArray[Any]":
        """Compute raw logits [B, C], B = 1 for a single input; of an embedding model its raw output [B, D].

        A long list runs in parts of the graph's largest batch.

        Raises:
            UsageError: see `predict`; or the model finds slots, so that this is not all it has to say.
        """
        names = [port.name for port in self.bundle.manifest.main.outputs]
        if len(names) > 1 or len(self._output.axes) > 2:
            raise UsageError(
                f"{self.bundle.path}: has outputs {names}, logits() gives a single one of a row a sample; "
                "call outputs()"
            )
        return self.outputs(inputs)[self._output.name]

    def outputs(self, inputs: "Raw | list[Any] | tuple[Any, ...]") -> "dict[str, NDArray[Any]]":
        """Compute all raw outputs [B, ...] by name, B = 1 for a single input.

        A long list runs in parts of the graph's largest batch. Where parts of texts have different lengths,
        outputs of tokens are filled up with zeros; what a graph says of padding means nothing either.

        Raises:
            UsageError: see `predict`.
        """
        several = self._is_batch(inputs)
        raws: Any = inputs if several else [inputs]
        parts = []
        for start in range(0, len(raws), self._max_batch):
            items = self._prepared(raws[start : start + self._max_batch], start if several else None)
            parts.append(self._run(self._steps.feed(items)))
        if len(parts) == 1:
            return parts[0]
        manifest = self.bundle.manifest
        ports = manifest.main.outputs
        if not parts:
            return {port.name: _nothing(port, manifest.labels) for port in ports}
        return {port.name: _joined([part[port.name] for part in parts]) for port in ports}

    def run(self, feeds: "dict[str, NDArray[Any]]") -> "dict[str, NDArray[Any]]":
        """Run the graph on arrays that the caller made, without preprocessing and decoding.

        Raises:
            UsageError: the graph refuses feeds of these names, shapes or types.
            TimeLimitError: it took longer than `limits.seconds`.
        """
        if self.limits.seconds is None:
            return self._runtime.run(feeds)
        within: Any = self._runtime
        found: Arrays = within.run_within(feeds, self.limits.seconds)
        return found

    def warm_up(self, batch: int = 1) -> None:
        """Run the graph once on zeros, so that the first answer does not wait for what is made then.

        Raises:
            UsageError: a batch that the graph does not take.
        """
        import numpy as np

        if not 1 <= batch <= self._max_batch:
            raise UsageError(f"batch: got {batch}, expected 1 to {self._max_batch}")
        ports = self.bundle.manifest.main.inputs
        self._run({port.name: np.zeros([batch, *port.min[1:]], port.dtype) for port in ports})

    def cancel(self) -> None:
        """Stop the calls that are running, which then raise TimeLimitError.

        Only where `limits.seconds` is given: a call without a limit of time cannot be reached.
        """
        stop = getattr(self._runtime, "cancel", None)
        if stop is not None:
            stop()

    def close(self) -> None:
        """Release the runtime; predicting afterwards is a UsageError."""
        self._runtime.close()

    def __enter__(self) -> Self:
        """Return the model itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the model."""
        self.close()

    def __repr__(self) -> str:
        """Name the bundle, what computes it, and where it lies."""
        name = self.bundle.manifest.name
        return f"<Model {name!r}: {self.artifact.name} on {self._runtime.provider}, from {self.bundle.path}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by path: the other process loads the same bundle again.

        Raises:
            UsageError: it was not made by `load`.
        """
        if self.again is None:
            raise UsageError(f"{self!r}: was not made by load(), so it cannot be pickled")
        return self.again, ()

    def _stream(self, inputs: Iterable[Any], on_error: OnError) -> Iterator[Any]:
        """Answer window by window, as they come."""
        given, start = iter(inputs), 0
        while raws := list(islice(given, self._window)):
            yield from self._answer(raws, start, on_error)
            start += len(raws)

    def _answer(self, raws: Sequence[Any], start: int, on_error: OnError) -> list[Any]:
        """Rule 1, of inputs of which `start` came before."""
        answers: list[Any] = [None] * len(raws)
        if on_error == "raise":
            items, places = self._prepared(raws, start), list(range(len(raws)))
        else:
            items, places = [], []
            for place, raw in enumerate(raws):
                try:
                    items += self._prepared([raw], start + place)
                    places.append(place)
                except InputError as error:
                    answers[place] = error
        sizes = [self._steps.size(item) for item in items]
        order = sorted(range(len(items)), key=sizes.__getitem__)
        for part in self._parts(order, sizes):
            chosen = [items[one] for one in part]
            found = self._answers(chosen)
            for one, answer in zip(part, found, strict=True):
                answers[places[one]] = answer
        return answers

    def _answers(self, items: list[Any]) -> Answers:
        """Run the graph on one batch of prepared inputs, and decode what it gives."""
        found = self._steps.answers(self._run(self._steps.feed(items)), items)
        if len(found) != len(items):
            raise IntegrityError(
                f"{self.bundle.path}: artifact {self.artifact.name!r} gives {len(found)} answers to a "
                f"batch of {len(items)}; export the bundle again"
            )
        return found

    def _prepared(self, raws: Sequence[Any], start: int | None) -> list[Any]:
        """Read inputs of which `start` came before; None = it is alone, and has no number."""
        try:
            return self._steps.prepare(raws)
        except InputError as error:
            if start is None:
                raise UsageError(error.reason) from error
            raise InputError(start + error.index, error.reason) from error

    def _parts(self, order: list[int], sizes: list[Any]) -> Iterator[list[int]]:
        """Cut into batches; images of two sizes never share one."""
        part: list[int] = []
        for one in order:
            apart = self.takes == "image" and bool(part) and sizes[part[0]] != sizes[one]
            if len(part) == self._max_batch or apart:
                yield part
                part = []
            part.append(one)
        if part:
            yield part

    def _run(self, feeds: "Arrays") -> "Arrays":
        """Rule 2."""
        try:
            return self._runtime.run(feeds) if self.limits.seconds is None else self.run(feeds)
        except FeedsRefused as error:
            raise IntegrityError(
                f"{self.bundle.path}: artifact {self.artifact.name!r} fails on what the manifest says it "
                f"takes ({error}); export the bundle again"
            ) from error

    def _is_batch(self, inputs: Any) -> bool:
        """A list, a tuple, or an array with more axes than one sample has."""
        if isinstance(inputs, _ONE):  # most are, and asking for what they have not takes longer
            return False
        return isinstance(inputs, _SEVERAL) or getattr(inputs, "ndim", 0) > self._sample_axes


def _nothing(port: OutputPort, labels: "Mapping[str, list[str]]") -> "NDArray[Any]":
    """Return an output of no sample: named axes are empty, but for one of classes."""
    import numpy as np

    shape = [axis if isinstance(axis, int) else 0 for axis in port.axes]
    if port.labels is not None:
        shape[-1] = len(labels[port.labels])
    return np.empty((0, *shape[1:]), np.float32)


def _joined(parts: "list[NDArray[Any]]") -> "NDArray[Any]":
    """Join the parts of an output along the batch; parts that are shorter along another axis get zeros."""
    import numpy as np

    if len({part.shape[1:] for part in parts}) == 1:
        return np.concatenate(parts)
    shape = tuple(map(max, zip(*(part.shape[1:] for part in parts), strict=True)))
    joined = np.zeros((sum(map(len, parts)), *shape), parts[0].dtype)
    start = 0
    for part in parts:
        rows = slice(start, start + len(part))
        joined[(rows, *(slice(size) for size in part.shape[1:]))] = part
        start += len(part)
    return joined
