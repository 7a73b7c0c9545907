"""Exported teachers: `bundle:PATH` runs an ONNX artifact of a bundle and opens no torch weights."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from compactor.locate import locate
from compactor.models import TEACHES_ON
from compactor.models.classifier import Backbone
from compactor.models.on_runtime import run_in_parts
from compactor.models.text import TextBackbone, text_info_of, tokenizer_ids
from compactor.records import DataInfo
from compactor_runtimes.backends import open_runtime
from compactor_runtimes.bundle.manifest import (
    Artifact,
    BioPost,
    DecodeImage,
    ImagePre,
    InputPort,
    ToFloat,
)
from compactor_runtimes.bundle.open import Bundle, open_bundle
from compactor_runtimes.errors import UsageError
from compactor_runtimes.predict.loading import doubt_of_int8

PIXEL_SCALE = 1 / 255  # of the pixels that all our image models take: float32 in [0, 1]


class OnnxBackbone(nn.Module):
    """Run a bundle's artifact on tensors; it has no parameters, so that nothing can train or save it.

    `files` hold its weights, `saved_model` names the bundle wherever the reader stands, `provider` computes.
    """

    def __init__(self, bundle: Bundle, artifact: Artifact, ports: list[InputPort]) -> None:
        """Open the artifact's session; `ports` are its inputs in the order of `forward`."""
        super().__init__()
        self.files = [bundle.file(entry.path) for entry in artifact.files]
        self.saved_model = f"bundle:{bundle.path.resolve()}"
        self.bundle, self.artifact, self._ports = bundle, artifact, ports
        self._output = bundle.manifest.main.outputs[0].name
        # threads that spin between two calls would take the student's cores
        self._runtime = open_runtime(
            TEACHES_ON, self.files[0], threads=torch.get_num_threads(), spinning=False
        )
        self.provider = self._runtime.provider
        self._order: list[int] | None = None

    def take(self, order: Sequence[int]) -> None:
        """Answer for the classes at these places only, in this order."""
        self._order = list(order)

    def saved_options(self) -> dict[str, Any]:
        """The artifact by name, because the bundle's default may change."""
        return {"artifact": self.artifact.name}

    def forward(self, *tensors: Tensor) -> Tensor:
        """Compute the raw output of a batch of any size, in parts of the graph's largest batch."""
        found = run_in_parts(self._runtime, self._ports, tensors)[self._output]
        return found if self._order is None else found[:, self._order]


def build(
    name: str, info: DataInfo, options: dict[str, Any], pretrained: bool, base: Path
) -> Backbone | TextBackbone:
    """Open `bundle:PATH`; option `artifact` names one of its ONNX artifacts (absent = its default).

    Images are resized to what the graph takes: its `pre` would cut whole images, but a teacher sees crops.

    Raises:
        UsageError: no such bundle or artifact, or one for another task, classes or channels.
        IntegrityError: the bundle is damaged.
    """
    bundle = open_bundle(locate(name, base, what=f"model bundle:{name}"))
    manifest = bundle.manifest
    if pretrained:
        raise UsageError(f"model bundle:{name}: is trained, weights has no effect; remove it")
    if manifest.task != info.task:
        raise UsageError(
            f"model bundle:{name}: is for {manifest.task}, the task is {info.task}; name a bundle of it"
        )
    artifact = _artifact(bundle, name, options)
    if any(isinstance(post, BioPost) for post in manifest.post):
        raise UsageError(
            f"model bundle:{name}: finds slots, expected classes or vectors, which alone can be taught; "
            "name the model that it was exported from, with its weights"
        )
    outputs, pre = manifest.main.outputs, manifest.pre[0] if len(manifest.pre) == 1 else None
    if len(outputs) != 1 or pre is None or any(port.min[0] != 1 for port in manifest.main.inputs):
        raise UsageError(
            f"model bundle:{name}: has {len(outputs)} outputs and {len(manifest.pre)} pre entries, expected "
            "one of each and batches from one sample on; export it with compactor"
        )
    head = outputs[0].labels
    classes = None if head is None else list(manifest.labels[head])
    width = outputs[0].axes[-1]
    ports = {port.name: port for port in manifest.main.inputs}
    if isinstance(pre, ImagePre):
        port = ports[pre.input]
        size = _image_size(name, pre, port, info)
        black, white = [0.0] * info.channels, [1.0] * info.channels  # the graph normalises by itself
        module = OnnxBackbone(bundle, artifact, [port])
        return Backbone(module, black, white, size=size, classes=classes)
    module = OnnxBackbone(bundle, artifact, [ports[pre.ids], ports[pre.mask]])
    ids = tokenizer_ids(bundle.file(pre.tokenizer))
    is_exact = artifact.spec.precision != "int8"
    if not is_exact and pre.pad_id != text_info_of(info).pad_id:
        _unfit(name, f"pads texts with id {pre.pad_id}", f"the data's {text_info_of(info).pad_id}")
    return TextBackbone(
        module,
        int(width),
        vocab_size=ids,
        max_tokens=pre.max_tokens,
        classes=classes,
        is_exact=is_exact,
    )


def _artifact(bundle: Bundle, name: str, options: dict[str, Any]) -> Artifact:
    known = bundle.manifest.main.artifacts
    wanted = options.get("artifact", bundle.manifest.default_artifact)
    if set(options) - {"artifact"}:
        raise UsageError(f"model bundle:{name}: options {options} found, expected at most {{artifact: NAME}}")
    able = [one for one in known if one.ships and one.spec.format == "onnx"]
    found = next((one for one in able if one.name == wanted), None)
    if found is None:
        listed = ", ".join(one.name for one in able) or "none"
        raise UsageError(
            f"model bundle:{name}: {wanted!r} is no verified ONNX artifact, and only these teach; set "
            f"options: {{artifact: NAME}} to one of: {listed}"
        )
    doubt = doubt_of_int8(bundle, found)
    if doubt is not None:
        warnings.warn(doubt, stacklevel=2)
    return found


def _image_size(name: str, pre: ImagePre, port: InputPort, info: DataInfo) -> tuple[int, int]:
    """Height and width that the graph takes, the data's own where it takes several."""
    for step in pre.steps:
        if isinstance(step, ToFloat) and not np.isclose(step.scale, PIXEL_SCALE):
            _unfit(name, f"takes pixels times {step.scale:g}", "times 1/255 (from 0 to 1)")
        channels = {"RGB": 3, "L": 1}[step.mode] if isinstance(step, DecodeImage) else port.max[1]
        if not channels == port.max[1] == info.channels:
            _unfit(name, f"takes images of {channels} channels", f"the data's {info.channels}")
    assert info.image is not None  # its task is that of the data
    height, width = (
        min(max(side, port.min[axis]), port.max[axis])
        for axis, side in ((2, info.image.height), (3, info.image.width))
    )
    return height, width


def _unfit(name: str, found: str, expected: str) -> NoReturn:
    raise UsageError(f"model bundle:{name}: {found}, expected {expected}; name a bundle made for such data")
