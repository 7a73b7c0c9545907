"""Load one artifact of a bundle and predict from raw images, with little Python between caller and graph."""

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, overload

from compactor_runtimes.bundle import Bundle, open_bundle
from compactor_runtimes.errors import IntegrityError, UnfitEnvironmentError, UsageError
from compactor_runtimes.manifest import Artifact
from compactor_runtimes.postprocess import Decoder, Prediction
from compactor_runtimes.preprocess import ImagePipeline, Raw
from compactor_runtimes.runtime import OPENERS, Runtime, open_runtime

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from PIL.Image import Image as PILImage


def load(path: str | Path, *, artifact: str | None = None, threads: int | None = None) -> "Model":
    """Open a bundle and one of its verified artifacts.

    Args:
        path: the bundle's folder.
        artifact: name of the artifact; None takes the bundle's default.
        threads: threads within one operator; None leaves it to the runtime.

    Raises:
        UsageError: no such folder, or no verified artifact of that name.
        IntegrityError: the bundle is damaged.
        UnfitEnvironmentError: this machine cannot run the artifact.
    """
    bundle = open_bundle(path)
    wanted = bundle.manifest.default_artifact if artifact is None else artifact
    for candidate in bundle.manifest.main.artifacts:
        if candidate.name == wanted and candidate.status == "verified":
            return Model(bundle, candidate, open_artifact(bundle, candidate, threads=threads))
    listed = ", ".join(f"{each.name} ({each.status})" for each in bundle.manifest.main.artifacts)
    raise UsageError(f"{bundle.path}: no verified artifact {wanted!r}; choose a verified one of: {listed}")


def open_artifact(bundle: Bundle, artifact: Artifact, *, threads: int | None = None) -> Runtime:
    """Open the runtime of an artifact; the first of its files is the one to open, the others lie beside it.

    Raises:
        UnfitEnvironmentError: no runtime for the artifact's format.
        IntegrityError: the artifact has no file, or its graph has other ports than the manifest says.
    """
    where = f"{bundle.path}: artifact {artifact.name!r}"
    if artifact.spec.format not in OPENERS:
        raise UnfitEnvironmentError(
            f"{where} has format {artifact.spec.format!r}, this release runs {', '.join(OPENERS)}; "
            "load another artifact"
        )
    if not artifact.files:
        raise IntegrityError(f"{where} lists no file; export the bundle again")
    runtime = open_runtime(
        OPENERS[artifact.spec.format], bundle.file(artifact.files[0].path), threads=threads
    )
    main = bundle.manifest.main
    for what, found, ports in (
        ("inputs", runtime.inputs, main.inputs),
        ("outputs", runtime.outputs, main.outputs),
    ):
        expected = sorted(port.name for port in ports)
        if sorted(found) != expected:
            runtime.close()
            raise IntegrityError(
                f"{where} has {what} {sorted(found)}, the manifest says {expected}; export it again"
            )
    return runtime


class Model:
    """An image classifier: raw images in, predictions out. A context manager; threads may share it."""

    def __init__(self, bundle: Bundle, artifact: Artifact, runtime: Runtime) -> None:
        """Bind preprocessing, graph and decoding, so that a call looks nothing up.

        Raises:
            UsageError: the bundle is not one image input with one softmax output, or takes no batch of one.
        """
        manifest = bundle.manifest
        if len(manifest.pre) != 1 or len(manifest.post) != 1 or len(manifest.main.inputs) != 1:
            raise UsageError(
                f"{bundle.path}: {len(manifest.main.inputs)} inputs, {len(manifest.pre)} pre and "
                f"{len(manifest.post)} post entries found, one each expected by predict(); "
                "run the graph with compactor_runtimes.model.open_artifact"
            )
        port, post = manifest.main.inputs[0], manifest.post[0]
        if port.min[0] != 1:
            raise UsageError(
                f"{bundle.path}: smallest batch is {port.min[0]}, expected 1; export it with a dynamic batch"
            )
        self.bundle = bundle
        self.artifact = artifact
        self.labels = manifest.labels[post.labels]
        self._runtime = runtime
        self._run = runtime.run
        self._input, self._output = port.name, post.output
        self._pipeline = ImagePipeline(manifest.pre[0])
        self._decode = Decoder(post, self.labels)
        self._max_batch = port.max[0]
        self._low, self._high = tuple(port.min[1:]), tuple(port.max[1:])

    @overload
    def predict(self, images: "str | Path | bytes | PILImage") -> Prediction: ...
    @overload
    def predict(self, images: "list[Any] | tuple[Any, ...]") -> list[Prediction]: ...
    @overload
    def predict(self, images: "NDArray[Any]") -> Prediction | list[Prediction]: ...
    def predict(self, images: "Raw | list[Any] | tuple[Any, ...]") -> Prediction | list[Prediction]:
        """Classify one image (one prediction) or a list, tuple or uint8 array [B, H, W, C] of them (a list).

        Raises:
            UsageError: an image that cannot be read or has a size that the graph does not take.
        """
        if _is_batch(images):
            return self._decode(self.logits(images))
        return self._decode(self._logits([images]))[0]

    def logits(self, images: "Raw | list[Any] | tuple[Any, ...]") -> "NDArray[Any]":
        """Compute raw logits [B, C], B = 1 for a single image.

        A long list runs in parts of the graph's largest batch.

        Raises:
            UsageError: see `predict`.
        """
        import numpy as np

        if not _is_batch(images):
            return self._logits([images])
        raws: Any = images
        if not len(raws):
            return np.empty((0, len(self.labels)), np.float32)
        size = self._max_batch
        parts = [self._logits(raws[start : start + size]) for start in range(0, len(raws), size)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

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

    def _logits(self, raws: "Sequence[Any]") -> "NDArray[Any]":
        batch = self._pipeline(raws)
        for found, low, high in zip(batch.shape[1:], self._low, self._high, strict=True):
            if not low <= found <= high:
                raise UsageError(
                    f"image: [C, H, W] = {list(batch.shape[1:])} found after preprocessing, "
                    f"{_range(self._low, self._high)} expected by the graph; give images of that size"
                )
        return self._run({self._input: batch})[self._output]


def _is_batch(images: Any) -> bool:
    """A list, a tuple, or an array with more axes than one image has."""
    return isinstance(images, list | tuple) or getattr(images, "ndim", 0) > 3


def _range(low: tuple[int, ...], high: tuple[int, ...]) -> str:
    """Render the bounds of axes: [3, 32, 32..64]."""
    return "[" + ", ".join(str(a) if a == b else f"{a}..{b}" for a, b in zip(low, high, strict=True)) + "]"
