"""What was written by others: NVIDIA's client with its defaults, and schemathesis against our description."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tests.runtimes.conftest import png
from tests.runtimes.server.test_inference import BLUE, IMAGE, MUSIC

CLIENT = """
import sys, json
import numpy as np
import tritonclient.http as http
client = http.InferenceServerClient(url=f"127.0.0.1:{sys.argv[1]}")
image = bytes.fromhex(sys.argv[2])
assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("words", "1")
assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
assert client.get_model_metadata("words")["inputs"][0]["datatype"] == "BYTES"
def ask(model, name, array, datatype, binary=True, outputs=None):
    one = http.InferInput(name, list(array.shape), datatype)
    one.set_data_from_numpy(array, binary_data=binary)
    return client.infer(model, [one], outputs=outputs, request_id="7")
texts = np.array(["music", "turn off the light"], dtype=np.object_)
found = []
for binary in (True, False):
    got = ask("words", "text", texts, "BYTES", binary)
    assert got.get_response()["id"] == "7"
    found.append([[one.decode() for one in got.as_numpy("label")], got.as_numpy("probabilities").tolist(),
                  got.as_numpy("rejected").tolist()])
asked = [http.InferRequestedOutput("label", binary_data=False)]
images = ask("colours", "image", np.array([image] * 3, dtype=np.object_), "BYTES", outputs=asked)
graph = ask("colours.graph", "pixel_values", np.array(json.loads(sys.argv[3]), np.float32), "FP32")
try:
    ask("words", "txt", texts, "BYTES")
except http.InferenceServerException as error:
    refused = error.message()
print(json.dumps([*found, images.as_numpy("label").tolist(), graph.as_numpy("logits").tolist(), refused]))
"""


@pytest.mark.heavy
def test_the_client_of_nvidia_works_with_its_defaults(all_kinds):
    pytest.importorskip("tritonclient", reason="needs tritonclient[http]")
    given = [str(all_kinds.port), png(BLUE).hex(), json.dumps(IMAGE)]
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, *given], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    one, two, images, graph, refused = json.loads(done.stdout)
    for labels, probabilities, rejected in (one, two):
        assert labels == ["music", "off"]
        assert probabilities[0][2] == pytest.approx(MUSIC, abs=1e-6)
        assert rejected == [False, False]
    assert images == ["blue"] * 3
    np.testing.assert_allclose(graph, [[0, 0, 3.2]], atol=1e-5)
    assert "['txt'] found, ['text'] expected" in refused


@pytest.mark.heavy
def test_schemathesis_finds_no_failure_of_the_server_and_no_answer_that_is_not_described(all_kinds, tmp_path):
    pytest.importorskip("schemathesis", reason="needs schemathesis")
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "run",
        f"http://127.0.0.1:{all_kinds.port}/openapi.json",
    ]
    command += ["--checks", "not_a_server_error,content_type_conformance,response_schema_conformance"]
    command += ["--max-examples", "20", "--seed", "1", "--no-color", "--generation-database", "none"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
