"""The friendly way: JSON, raw bodies and forms, and answers as plain data."""

import base64
import math
import re

import numpy as np
import pytest

from tests.runtimes.conftest import png

BLUE = np.zeros((4, 4, 3), np.uint8)
BLUE[:, :, 2] = 51
MUSIC = math.exp(3) / (math.exp(3) + 2)


DISPOSITION = 'Content-Disposition: form-data; name="inputs"'


FIELD = f"--x\r\n{DISPOSITION}\r\n\r\nb\r\n--x--\r\n".encode()


def form(*files, boundary="limit"):
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="inputs"; filename="{n}"\r\n\r\n'.encode()
        + one
        + b"\r\n"
        for n, one in enumerate(files)
    ]
    body = b"".join(parts) + f"--{boundary}--\r\n".encode()
    return body, {"content-type": f"multipart/form-data; boundary={boundary}"}


def test_one_bundle_is_asked_without_its_name(words):
    status, headers, said = words.post("/predict", {"inputs": "music"})
    assert status == 200
    (answer,) = said["answers"]
    assert (answer["label"], answer["index"], answer["rejected"], answer["truncated"]) == (
        "music",
        2,
        False,
        False,
    )
    assert answer["confidence"] == pytest.approx(MUSIC, abs=1e-6)
    assert len(answer["probabilities"]) == 3
    assert (
        words.post("/models/words/predict", {"inputs": ["music", "Off!"]})[2]["answers"][1]["label"] == "off"
    )


def test_of_several_bundles_one_is_named(all_kinds):
    status, _, said = all_kinds.post("/predict", {"inputs": "music"})
    assert status == 404
    assert "one of ['words', 'colours', 'vectors', 'intents'] expected" in said["error"]
    assert all_kinds.post("/models/words.graph/predict", {"inputs": "music"})[0] == 404
    assert all_kinds.post("/models/none/predict", {"inputs": "music"})[0] == 404


def test_bodies_may_be_texts_images_and_forms(all_kinds):
    ask, image = all_kinds.ask, png(BLUE)
    plain = ask(
        "POST", "/models/words/predict", "müsic music".encode(), {"content-type": "text/plain; charset=utf-8"}
    )
    assert plain[2]["answers"][0]["label"] == "music"
    raw = ask("POST", "/models/colours/predict", image, {"content-type": "image/png"})
    assert raw[2]["answers"][0]["label"] == "blue"
    coded = all_kinds.post("/models/colours/predict", {"inputs": base64.b64encode(image).decode()})
    assert coded[2]["answers"][0]["confidence"] == pytest.approx(0.924621, abs=1e-6)
    body, headers = form(image, b"no image", image)
    status, _, said = ask("POST", "/models/colours/predict", body, headers)
    assert status == 200
    first, bad, last = said["answers"]
    assert (first["label"], list(bad), last["label"]) == ("blue", ["error"], "blue")
    assert all_kinds.post("/models/vectors/predict", {"inputs": "music"})[2]["answers"] == [
        {"embedding": [0.0, 0.0, 1.0], "truncated": False}
    ]
    said = all_kinds.post("/models/intents/predict", {"inputs": "turn on the light"})[2]["answers"][0]
    assert (said["label"], said["slots"][0]["value"]) == ("on", "the light")


def test_a_single_bad_input_is_400_one_of_several_an_entry(all_kinds):
    status, _, said = all_kinds.ask("POST", "/models/colours/predict", b"none", {"content-type": "image/png"})
    assert (status, list(said)) == (400, ["error"])
    good = base64.b64encode(png(BLUE)).decode()
    status, _, said = all_kinds.post("/models/colours/predict", {"inputs": ["?", good, "bm9uZQ=="]})
    assert status == 200
    assert ["error" in each for each in said["answers"]] == [True, False, True]
    assert "no base64" in said["answers"][0]["error"]


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/xml", b"<a/>", 415),
        ("", b"music", 415),
        ("image/png", b"music", 415),
        ("text/plain", b"\xff", 400),
        ("application/json", b'{"inputs": []}', 400),
        ("application/json", b'{"inputs": "\\ud800"}', 400),
        ("application/json", b'{"inputs": [3]}', 400),
        ("multipart/form-data", b"music", 400),
        ("multipart/form-data; boundary=x", b"--x\r\nbroken", 400),
        ("multipart/form-data; boundary=x", b"--x--\r\n", 400),
        (
            "multipart/form-data; boundary=x",
            FIELD,
            400,
        ),
    ],
)
def test_what_cannot_be_read_is_said(words, kind, body, status):
    got, _, said = words.ask("POST", "/predict", body, {"content-type": kind})
    assert got == status, said
    assert re.search("expected|send|cannot", said["error"])
