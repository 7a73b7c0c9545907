"""Load one artifact of a bundle and predict from raw images or texts, with little Python before the graph."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from compactor_runtimes.backends import Runtime, find_runtime, is_code, open_files
from compactor_runtimes.bundle.manifest import Artifact, ImagePre, InputPort, OutputPort, TextPre
from compactor_runtimes.bundle.open import Bundle, open_bundle
from compactor_runtimes.errors import InputError, IntegrityError, UsageError
from compactor_runtimes.predict.answering import Feeds, answers_from
from compactor_runtimes.predict.answers import Answer, Answers, decoder_from
from compactor_runtimes.predict.decode import Raw
from compactor_runtimes.predict.images import ImagePipeline
from compactor_runtimes.predict.text import TextPipeline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from PIL.Image import Image as PILImage


def load(
    path: str | Path,
    *,
    artifact: str | None = None,
    runtime: str | None = None,
    threads: int | None = None,
    trust: bool = False,
    profile: str | Path | None = None,
) -> "Model":
    """Open a bundle and one of its verified artifacts.

    Warns with UserWarning where int8 was judged on a CPU whose 8-bit sums differ from this one's, and where
    the profile is of another machine.

    Args:
        path: the bundle's folder.
        artifact: name of the artifact; None takes the profile's, or the bundle's default.
        runtime: what computes it, a name in `compactor_runtimes.backends.RUNTIMES`; None takes the profile's,
            or the artifact's default.
        threads: threads within one operator; None takes the profile's, or leaves it to the runtime.
        trust: whoever made the bundle is trusted with running code, which an engine is. An engine that was
            built but not run, because its GPU was not there, may then be loaded by its name.
        profile: a file that `compactor measure` wrote of this bundle on this machine; what it recommends is
            loaded, as far as nothing else is said.

    Raises:
        UsageError: no such folder, no verified artifact of that name, no such runtime or one that cannot
            open the artifact, an engine without `trust`, `threads` that the runtime does not take, or a
            profile that does not recommend this bundle.
        IntegrityError: the bundle or the profile is damaged.
        MissingDependency: the package behind the runtime is not installed.
        UnfitEnvironmentError: this machine cannot run the artifact.
    """
    if runtime is not None:
        find_runtime(runtime)  # a slip in the name is said before all else
    bundle = open_bundle(path)
    options: dict[str, Any] = {}
    if profile is not None:
        from compactor_runtimes.profiling.recommended import recommended

        advice = recommended(bundle, Path(profile))
        for each in advice.doubts:
            warnings.warn(each, stacklevel=2)
        if artifact in (None, advice.artifact) and runtime in (None, advice.runtime):
            artifact, runtime = advice.artifact, advice.runtime
            threads = advice.threads if threads is None else threads
            options = advice.options
    wanted = artifact if artifact is not None else bundle.manifest.default_artifact
    for candidate in bundle.manifest.main.artifacts:
        engine = is_code(candidate) and candidate.status == "not-run" and candidate.files
        if candidate.name == wanted and (candidate.ships or engine):
            doubt = doubt_of_int8(bundle, candidate)
            if doubt is not None:
                warnings.warn(doubt, stacklevel=2)
            opened = open_artifact(
                bundle, candidate, runtime=runtime, threads=threads, trust=trust, **options
            )
            return Model(bundle, candidate, opened)
    listed = ", ".join(f"{each.name} ({each.status})" for each in bundle.manifest.main.artifacts)
    raise UsageError(f"{bundle.path}: no verified artifact {wanted!r}; choose a verified one of: {listed}")


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
    opened = open_files(artifact, bundle.file, runtime=runtime, threads=threads, trust=trust, **options)
    main = bundle.manifest.main
    for what, found, ports in (
        ("inputs", opened.inputs, main.inputs),
        ("outputs", opened.outputs, main.outputs),
    ):
        expected = sorted(port.name for port in ports)
        if sorted(found) != expected:
            opened.close()
            raise IntegrityError(
                f"{bundle.path}: artifact {artifact.name!r} has {what} {sorted(found)}, the manifest says "
                f"{expected}; export it again"
            )
    return opened


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


class Model:
    """Raw images or texts in, predictions, embeddings or slots out. A context manager; threads may share it.

    Attributes:
        takes: "text" for a bundle of a text model: there a str is a text, never a path.
        labels: class names in the order of the logits (of a model of intents and slots: the intents); empty
            for an embedding model.
        decode: turns outputs into answers, and says what to print of one.
    """

    def __init__(self, bundle: Bundle, artifact: Artifact, runtime: Runtime) -> None:
        """Bind preprocessing, graph and decoding, so that a call looks nothing up.

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
                "compactor_runtimes.predict.model.open_artifact"
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
        self._runtime = runtime
        self._run = runtime.run
        self._feeds: Feeds
        if isinstance(pre, ImagePre):
            self._feeds, self._sample_axes = _image_feeds(pre, port), 3
        elif isinstance(pre, TextPre):
            self._feeds, self._sample_axes = TextPipeline(pre, bundle.path), 0
        self._answer = answers_from(self._feeds, self.decode)
        self._output = next(each for each in manifest.main.outputs if each.name == first.output)
        self._max_batch = min(each.max[0] for each in inputs)

    @overload
    def predict(self, inputs: "str | Path | bytes | PILImage") -> Answer: ...
    @overload
    def predict(self, inputs: "list[Any] | tuple[Any, ...]") -> Answers: ...
    @overload
    def predict(self, inputs: "NDArray[Any]") -> "Answer | Answers": ...
    def predict(self, inputs: "Raw | list[Any] | tuple[Any, ...]") -> "Answer | Answers":
        """Answer for one image or text, or give a list for a list, a tuple or an array of several.

        Args:
            inputs: For an image model: a path, the bytes of a file, a PIL image or a uint8 array [H, W, C];
                several may be one array [B, H, W, C]. For a text model: a str, which is the text itself,
                UTF-8 bytes, or the Path of a text file; a text of more tokens than the model takes is cut.

        Returns:
            A `Prediction` for each input, a `LabelSet` where any number of labels may be true, an `Embedding`
            if the bundle is an embedding model, and of a model that finds slots a `Tagging`, or with an
            intent an `Understanding`.

        Raises:
            UsageError: an input that cannot be read (of several an InputError, which has its index), or an
                image of a size that the graph does not take.
        """
        if not self._is_batch(inputs):
            with _counted_from(None):
                return self._answer([inputs], self._run)[0]
        parts = self._parts(inputs)
        if len(parts) == 1:
            with _counted_from(0):
                return self._answer(parts[0], self._run)
        answers: list[Any] = []
        for part in parts:  # each is decoded by itself: it has a padding of its own
            with _counted_from(len(answers)):
                answers += self._answer(part, self._run)
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
        parts = []
        for number, part in enumerate(self._parts(inputs) if several else [[inputs]]):
            with _counted_from(number * self._max_batch if several else None):
                parts.append(self._run(self._feeds(part)))
        if len(parts) == 1:
            return parts[0]
        manifest = self.bundle.manifest
        ports = manifest.main.outputs
        if not parts:
            return {port.name: _nothing(port, manifest.labels) for port in ports}
        return {port.name: _joined([part[port.name] for part in parts]) for port in ports}

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

    def _parts(self, raws: Any) -> "list[Sequence[Any]]":
        """Cut several inputs into parts of the graph's largest batch."""
        size = self._max_batch
        return [raws[start : start + size] for start in range(0, len(raws), size)]

    def _is_batch(self, inputs: Any) -> bool:
        """A list, a tuple, or an array with more axes than one sample has."""
        return isinstance(inputs, list | tuple) or getattr(inputs, "ndim", 0) > self._sample_axes


@contextmanager
def _counted_from(first: int | None) -> Iterator[None]:
    """Number a bad input among all, of which `first` came before this part; None = it is alone."""
    try:
        yield
    except InputError as error:
        if first is None:
            raise UsageError(error.reason) from error
        raise InputError(first + error.index, error.reason) from error


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


def _image_feeds(pre: ImagePre, port: InputPort) -> Feeds:
    """Return the function from raw images to the graph's input, which refuses sizes that `port` excludes."""
    pipeline, name = ImagePipeline(pre), port.name
    lows, highs = tuple(port.min[1:]), tuple(port.max[1:])

    def feeds(raws: "Sequence[Any]") -> "dict[str, NDArray[Any]]":
        batch = pipeline(raws)
        for found, low, high in zip(batch.shape[1:], lows, highs, strict=True):
            if not low <= found <= high:
                raise UsageError(
                    f"image: [C, H, W] = {list(batch.shape[1:])} found after preprocessing, "
                    f"{_range(lows, highs)} expected by the graph; give images of that size"
                )
        return {name: batch}

    return feeds


def _range(low: tuple[int, ...], high: tuple[int, ...]) -> str:
    """Render the bounds of axes: [3, 32, 32..64]."""
    return "[" + ", ".join(str(a) if a == b else f"{a}..{b}" for a, b in zip(low, high, strict=True)) + "]"
