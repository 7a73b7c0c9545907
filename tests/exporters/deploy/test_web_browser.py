"""The page in headless Chromium: it tests itself with the bundle's golden cases, and asks no other host."""

import functools
import http.server
import json
import queue
import re
import shutil
import subprocess
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image, ImageFilter
from safetensors.numpy import load_file, save_file

from compactor_exporters.deploy import deploy
from compactor_runtimes import verify_bundle
from compactor_runtimes.bundle.manifest import CenterCrop, DecodeImage, ImagePre, Resize, ToFloat
from compactor_runtimes.predict.images import ImagePipeline
from tests.runtimes.conftest import softmax_by_hand, write_bundle

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine"),
    pytest.mark.skipif(shutil.which("npm") is None, reason="no npm on this machine"),
]

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--enable-logging=stderr", "--v=0"),
)

# a second module in the served page, which sends it back when its self-test is over
WATCHER = b"""
const look = () => {
  const over = document.getElementById("selftest").dataset.passed !== undefined;
  const failed = document.getElementById("notice").textContent.includes("cannot start");
  if (over || failed) fetch("/over", { method: "POST", body: document.documentElement.outerHTML });
  else setTimeout(look, 50);
};
look();
"""


class Served(http.server.SimpleHTTPRequestHandler):
    """The folder's files, the watcher, and a place for what it sends."""

    def do_GET(self):
        name = self.path.partition("?")[0]
        if name == "/watcher.mjs":
            self.answer(WATCHER, "text/javascript")
        elif name == "/":
            page = (Path(self.directory) / "index.html").read_bytes()
            watched = b'<script type="module" src="watcher.mjs"></script></body>'
            self.answer(page.replace(b"</body>", watched), "text/html")
        else:
            super().do_GET()

    def do_POST(self):
        self.server.over.put(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.answer(b"", "text/plain")

    def answer(self, content, kind):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *words):
        pass


def self_tested(folder, profile):
    """The page after its self-test, and what its console said."""
    handler = functools.partial(Served, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        running.over = queue.Queue()
        threading.Thread(target=running.serve_forever, daemon=True).start()
        command = [BROWSER, *FLAGS, f"--user-data-dir={profile}", "--remote-debugging-port=0"]
        address = f"http://127.0.0.1:{running.server_port}/?selftest"
        errors = profile.with_suffix(".txt")
        with (
            errors.open("w") as said,
            subprocess.Popen([*command, address], stdout=said, stderr=said) as process,
        ):
            try:
                page = running.over.get(timeout=90)
            finally:
                process.terminate()
        running.shutdown()
    return page, [line for line in errors.read_text(errors="replace").splitlines() if "CONSOLE" in line]


def verdict(page):
    (found,) = re.findall(r'<output id="selftest"([^>]*)>', page)
    return dict(re.findall(r'data-(\w+)="([^"]*)"', found))


def photos(root):
    """The classifier behind a resize and a crop, on images with edges and gradients; all sizes are odd."""
    steps = [DecodeImage(), Resize(size=5, interpolation="bicubic"), CenterCrop(height=4, width=4), ToFloat()]
    random = np.random.default_rng(0)
    images = []
    for size in [(67, 41), (23, 90), (6, 5), (150, 151)]:
        noise = Image.fromarray(random.integers(0, 256, (*size, 3), dtype=np.uint8))
        images.append(np.asarray(noise.filter(ImageFilter.GaussianBlur(2))))
    images[0] = (images[0] > 127).astype(np.uint8) * 255
    written = write_bundle(root, steps=steps, images=images)
    pipeline = ImagePipeline(ImagePre(input="pixel_values", steps=steps))
    tensors = load_file(root / "golden/tensors.safetensors")
    cases = json.loads((root / "golden/cases.json").read_text())
    for case in cases:
        feed = pipeline([root / case["raw"]])
        logits = feed.sum(axis=(2, 3))
        tensors |= {case["feeds"]["pixel_values"]: feed, case["outputs"]["logits"]: logits}
        chances = softmax_by_hand(logits[0])
        best = int(np.argmax(chances))
        case["decoded"] = {
            "label": ["red", "green", "blue"][best],
            "index": best,
            "confidence": chances[best],
        }
    save_file(
        {key: np.ascontiguousarray(each) for key, each in tensors.items()},
        root / "golden/tensors.safetensors",
    )
    (root / "golden/cases.json").write_text(json.dumps(cases))
    written.rehash()
    assert verify_bundle(root)
    return root


@pytest.mark.parametrize(("kind", "cases"), [("photos", "4"), ("texts", "5")])
def test_the_page_gives_the_stored_logits(kind, cases, tmp_path, request):
    bundle = photos(tmp_path / "photos") if kind == "photos" else request.getfixturevalue(kind)
    folder = deploy(bundle, "web", output=tmp_path / "out").folder
    page, complaints = self_tested(folder, tmp_path / "profile")
    found = verdict(page)
    assert complaints == []
    assert found["cases"] == cases
    assert found["passed"] == "true", found
    assert found["ids"] == "0"
    assert float(found["difference"]) <= 1e-4
    assert 'id="notice" hidden=""' in page


def test_other_weights_fail_the_self_test(images, tmp_path):
    folder = deploy(images, "web", output=tmp_path / "out").folder
    model = onnx.load(folder / "model/graph.onnx")
    weight = next(each for each in model.graph.initializer if each.name == "weight")
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.001), "weight"))
    onnx.save(model, folder / "model/graph.onnx")
    page, _ = self_tested(folder, tmp_path / "profile")
    assert verdict(page)["passed"] == "false"
    assert "FAILED" in page


def test_from_a_file_address_the_page_says_what_it_needs(images, tmp_path):
    folder = deploy(images, "web", output=tmp_path / "out").folder
    command = [BROWSER, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    address = (folder / "index.html").as_uri()
    page = subprocess.run([*command, address], capture_output=True, text=True, timeout=60).stdout
    assert 'id="notice"' in page
    assert 'id="notice" hidden' not in page
    assert "python3 -m http.server" in page
