"""The Open Inference Protocol over a real connection: numbers by hand, in JSON and as bytes."""

import base64
import json
import math
import struct

import numpy as np
import pytest

from tests.runtimes.conftest import png
from tests.runtimes.slot_bundles import DEVICE

BLUE = np.zeros((4, 4, 3), np.uint8)
BLUE[:, :, 2] = 51  # 16 pixels of 0.2: logits 0, 0, 3.2
MUSIC = math.exp(3) / (math.exp(3) + 2)  # logits of "music" are 0, 0, 3
IMAGE = [[[[0.0] * 4] * 4, [[0.0] * 4] * 4, [[0.2] * 4] * 4]]


def tensors(said):
    return {each["name"]: each for each in said["outputs"]}


def asking(name, data, datatype="BYTES", shape=None, **more):
    return {
        "inputs": [{"name": name, "datatype": datatype, "shape": shape or [len(data)], "data": data}],
        **more,
    }


def test_the_server_says_what_it_is(all_kinds):
    status, headers, said = all_kinds.get("/v2")
    assert (status, said["name"], said["extensions"]) == (200, "compactor", ["binary_tensor_data"])
    assert len(headers["x-request-id"]) == 32
    assert all_kinds.get("/v2/health/live")[::2] == (200, {"live": True})
    assert all_kinds.get("/v2/health/ready")[::2] == (200, {"live": True, "ready": True})


def test_models_are_described_as_the_protocol_says(all_kinds):
    status, _, said = all_kinds.get("/v2/models/words")
    assert status == 200
    assert said["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    assert [(each["name"], each["datatype"], each["shape"]) for each in said["outputs"]] == [
        ("label", "BYTES", [-1]),
        ("index", "INT64", [-1]),
        ("confidence", "FP32", [-1]),
        ("probabilities", "FP32", [-1, 3]),
        ("rejected", "BOOL", [-1]),
        ("truncated", "BOOL", [-1]),
    ]
    _, _, graph = all_kinds.get("/v2/models/colours.graph/versions/1")
    assert graph["inputs"] == [{"name": "pixel_values", "datatype": "FP32", "shape": [-1, 3, 4, 4]}]
    assert graph["outputs"] == [{"name": "logits", "datatype": "FP32", "shape": [-1, 3]}]
    assert all_kinds.get("/v2/models/words/ready")[2] == {"name": "words", "ready": True}


def test_an_unknown_model_or_version_is_404(all_kinds):
    for path in ("/v2/models/wrds", "/v2/models/words/versions/2", "/v2/models/words/versions/2/ready"):
        status, _, said = all_kinds.get(path)
        assert status == 404
        assert "expected" in said["error"]
    assert all_kinds.get("/v2/nothing")[0] == 404
    assert all_kinds.get("/v2/models/words/infer")[0] == 405
    assert all_kinds.post("/v2/models/words/versions/2/infer", {})[0] == 404


def test_texts_give_labels_and_probabilities(all_kinds):
    body = asking("text", ["music", "turn off the light off off"], id="a-7")
    status, _, said = all_kinds.post("/v2/models/words/versions/1/infer", body)
    assert (status, said["model_name"], said["id"]) == (200, "words", "a-7")
    assert "model_version" not in said
    found = tensors(said)
    assert found["label"]["data"] == ["music", "off"]
    assert found["index"]["data"] == [2, 1]
    assert found["confidence"]["data"][0] == pytest.approx(MUSIC, abs=1e-6)
    assert found["probabilities"]["shape"] == [2, 3]
    assert found["probabilities"]["data"][:3] == pytest.approx(
        [(1 - MUSIC) / 2, (1 - MUSIC) / 2, MUSIC], abs=1e-6
    )
    assert found["rejected"]["data"] == [False, False]
    assert found["truncated"]["data"] == [False, True]


def test_images_are_base64_in_json_and_bytes_as_they_are(all_kinds):
    content = png(BLUE)
    body = asking("image", [base64.b64encode(content).decode()], outputs=[{"name": "label"}])
    said = all_kinds.post("/v2/models/colours/infer", body)[2]
    assert said["outputs"] == [{"name": "label", "datatype": "BYTES", "shape": [1], "data": ["blue"]}]
    element = struct.pack("<I", len(content)) + content
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": "image",
                    "datatype": "BYTES",
                    "shape": [2],
                    "parameters": {"binary_data_size": 2 * len(element)},
                }
            ],
            "parameters": {"binary_data_output": True},
            "outputs": [{"name": "confidence"}, {"name": "label", "parameters": {"binary_data": False}}],
        }
    ).encode()
    status, headers, got = all_kinds.post(
        "/v2/models/colours/infer",
        head + 2 * element,
        **{"Inference-Header-Content-Length": str(len(head)), "content-type": "application/octet-stream"},
    )
    assert status == 200
    end = int(headers["Inference-Header-Content-Length"])
    said = json.loads(got[:end])
    assert said["outputs"][0]["parameters"] == {"binary_data_size": 8}
    assert struct.unpack("<2f", got[end:]) == pytest.approx([0.924621] * 2, abs=1e-6)
    assert said["outputs"][1]["data"] == ["blue", "blue"]


def test_a_graph_takes_nested_flat_and_binary_numbers(all_kinds):
    flat = np.array(IMAGE, np.float32).ravel()
    for data in (IMAGE, flat.tolist()):
        body = asking("pixel_values", data, "FP32", [1, 3, 4, 4])
        (said,) = all_kinds.post("/v2/models/colours.graph/infer", body)[2]["outputs"]
        assert (said["name"], said["datatype"], said["shape"]) == ("logits", "FP32", [1, 3])
        assert said["data"] == pytest.approx([0, 0, 3.2], abs=1e-5)
    one = {"name": "pixel_values", "datatype": "FP32", "shape": [1, 3, 4, 4]}
    one["parameters"] = {"binary_data_size": 192}
    head = json.dumps({"inputs": [one]}).encode()
    extra = {"Inference-Header-Content-Length": str(len(head))}
    (said,) = all_kinds.post("/v2/models/colours.graph/infer", head + flat.tobytes(), **extra)[2]["outputs"]
    assert said["data"] == pytest.approx([0, 0, 3.2], abs=1e-5)


def test_vectors_and_slots_are_tensors_too(all_kinds):
    said = all_kinds.post("/v2/models/vectors/infer", asking("text", ["music"]))[2]
    assert tensors(said)["embedding"] == {
        "name": "embedding",
        "datatype": "FP32",
        "shape": [1, 3],
        "data": [0.0, 0.0, 1.0],
    }
    found = tensors(all_kinds.post("/v2/models/intents/infer", asking("text", ["turn on the light"]))[2])
    assert found["label"]["data"] == ["on"]
    (slot,) = json.loads(found["slots"]["data"][0])
    assert slot.pop("confidence") == pytest.approx(DEVICE, abs=1e-6)
    assert slot == {"name": "device", "start": 8, "end": 17, "value": "the light"}


GOOD = {"name": "pixel_values", "datatype": "FP32", "shape": [1, 3, 4, 4], "data": [0] * 48}
WRONG = [
    ({**GOOD, "name": "pixels"}, "expected, each once"),
    ({**GOOD, "datatype": "FP64"}, "datatype 'FP64' found, FP32 expected"),
    ({**GOOD, "shape": [9, 3, 4, 4]}, r"shape [9, 3, 4, 4] found, [1..8, 3, 4, 4] expected"),
    ({**GOOD, "shape": [3, 4, 4]}, "shape [3, 4, 4] found"),
    ({**GOOD, "shape": [0, 3, 4, 4]}, "shape [0, 3, 4, 4] found"),
    ({**GOOD, "shape": [10**12, 3, 4, 4]}, "found, [1..8"),
    ({**GOOD, "shape": [1, 3, 4, "4"]}, "no inference request"),
    ({**GOOD, "data": [0] * 47}, "data of shape [47] found"),
    ({**GOOD, "data": [[0] * 48]}, "data nested 2 deep found"),
    ({**GOOD, "data": [[[[0] * 4] * 4, [[0] * 4] * 4, [[0] * 4] * 3]]}, "no FP32 of shape"),
    ({**GOOD, "data": ["0"] * 48}, "data cannot be read"),
    ({**GOOD, "data": [True] * 48}, "data cannot be read"),
    ({**GOOD, "data": [0] * 100_000}, "more data found"),
    ({**GOOD, "data": [1e300] * 48}, "NaN or infinity found"),
    ({**GOOD, "data": {}}, "data nested 0 deep"),
    ({**GOOD, "parameters": {"binary_data_size": 192}}, "both"),
    (
        {**{k: v for k, v in GOOD.items() if k != "data"}, "parameters": {"binary_data_size": 192}},
        "at most the 0",
    ),
    ({k: v for k, v in GOOD.items() if k != "data"}, "no data found"),
    ({**GOOD, "parameters": {"shared_memory_region": "x"}}, "is not supported"),
]


@pytest.mark.parametrize(("given", "reason"), WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_with_an_input_is_said(all_kinds, given, reason):
    status, _, said = all_kinds.post("/v2/models/colours.graph/infer", {"inputs": [given]})
    assert status == 400
    assert reason in said["error"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b"\xff\xfe",
        b'{"inputs": 3}',
        b'{"inputs": []}',
        b'{"inputs": [{}]}',
        b"null",
    ],
)
def test_what_is_no_request_is_400(all_kinds, body):
    for path in ("/v2/models/words/infer", "/v2/models/words.graph/infer", "/models/words/predict"):
        status, _, said = all_kinds.post(path, body)
        assert (status, list(said)) == (400, ["error"])


@pytest.mark.parametrize("length", ["x", "-1", "999", "1e1", "9" * 30])
def test_a_length_of_the_head_that_is_none_is_400(all_kinds, length):
    body = asking("text", ["music"])
    extra = {"Inference-Header-Content-Length": length}
    assert all_kinds.post("/v2/models/words/infer", body, **extra)[0] == 400


@pytest.mark.parametrize(
    "elements",
    [
        b"\x05",
        b"\x05\0\0\0musi",
        b"\xff\xff\xff\xffmusic",
        b"",
        b"\x01\0\0\0a\x01\0\0\0b",
        b"\x02\0\0\0\xff\xfe",
    ],
)
def test_bytes_that_are_not_what_the_shape_says_are_400(all_kinds, elements):
    one = {
        "name": "text",
        "datatype": "BYTES",
        "shape": [1],
        "parameters": {"binary_data_size": len(elements)},
    }
    head = json.dumps({"inputs": [one]}).encode()
    extra = {"Inference-Header-Content-Length": str(len(head))}
    assert all_kinds.post("/v2/models/words/infer", head + elements, **extra)[0] == 400
    assert all_kinds.post("/v2/models/words/infer", head + elements + b"more", **extra)[0] == 400


def test_graph_inputs_of_one_axis_must_agree_and_its_refusal_is_the_callers(all_kinds):
    def ids(name, values):
        return {"name": name, "datatype": "INT64", "shape": [1, len(values)], "data": values}

    good = {"inputs": [ids("input_ids", [2, 9, 3]), ids("attention_mask", [1, 1, 1])]}
    said = all_kinds.post("/v2/models/words.graph/infer", good)[2]
    assert said["outputs"][0]["data"] == [0, 0, 3]
    short = {"inputs": [ids("input_ids", [2, 9, 3]), ids("attention_mask", [1])]}
    status, _, said = all_kinds.post("/v2/models/words.graph/infer", short)
    assert status == 400
    assert "axis 'tokens' is 3 in 'input_ids' and 1 in 'attention_mask'" in said["error"]
    unknown = {"inputs": [ids("input_ids", [2, 99, 3]), ids("attention_mask", [1, 1, 1])]}
    assert all_kinds.post("/v2/models/words.graph/infer", unknown)[0] == 400


def test_an_input_that_cannot_be_used_is_named_by_its_place(all_kinds):
    status, _, said = all_kinds.post(
        "/v2/models/colours/infer", asking("image", [base64.b64encode(png(BLUE)).decode(), "bm8gaW1hZ2U="])
    )
    assert status == 400
    assert said["error"].startswith("input number 1 (from 0): ")
    assert "is no base64" in all_kinds.post("/v2/models/colours/infer", asking("image", ["?"]))[2]["error"]


def test_outputs_are_checked(all_kinds):
    for outputs in ([{"name": "lable"}], [{"name": "label"}, {"name": "label"}]):
        body = asking("text", ["music"], outputs=outputs)
        assert all_kinds.post("/v2/models/words/infer", body)[0] == 400
