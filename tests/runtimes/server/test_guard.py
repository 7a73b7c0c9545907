"""What a connection may take, who may ask, and hostile clients beside good ones, who lose no answer."""

import json
import socket
import struct
import threading
import time

import pytest

from compactor_runtimes.server.settings import Bounds, Gathering
from tests.runtimes.server.live import live
from tests.runtimes.text_bundles import write_text_bundle

IDS = ("x-request-id", "date")
MUSIC = b'{"inputs": "music"}'
QUICK = Bounds(
    head_bytes=4096,
    head_seconds=0.4,
    body_bytes=20_000,
    body_seconds=0.4,
    bodies_bytes=30_000,
    answer_seconds=0.5,
    write_seconds=0.4,
    connections=8,
    drain_seconds=10,
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_text_bundle(tmp_path_factory.mktemp("guarded") / "bundle")


@pytest.fixture(scope="module")
def quick(bundle):
    with live(bundle.path, bounds=QUICK) as server:
        yield server


def connect(server):
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def rest(connection):
    """Everything until the server closes; a reset is the end too."""
    got = b""
    try:
        while part := connection.recv(65536):
            got += part
    except ConnectionError:
        pass
    return got


def status_of(got):
    return int(got.split(b" ")[1]) if got else None


def head(length, path="/predict", **more):
    lines = [
        f"POST {path} HTTP/1.1",
        "host: x",
        "content-type: application/json",
        f"content-length: {length}",
    ]
    return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in more.items()), "", ""]).encode()


class Held:
    """Holds the model of a server up."""

    def __init__(self, server):
        self.model = server.service._models[0]
        self.free, self.begun = threading.Event(), threading.Event()
        self.seen = []

    def __enter__(self):
        real = type(self.model).predict

        def predict(inputs, *, on_error):
            self.seen.append(list(inputs))
            self.begun.set()
            assert self.free.wait(20)
            return real(self.model, inputs, on_error=on_error)

        self.model.predict = predict
        return self

    def __exit__(self, *_):
        self.free.set()
        del self.model.predict


def test_a_body_is_refused_by_its_length_before_it_is_read(quick):
    with connect(quick) as connection:
        connection.sendall(head(100_000_000))
        got = rest(connection)
    assert status_of(got) == 413
    assert b"more than the 20,000 bytes expected" in got


def test_a_body_without_a_length_is_counted_while_it_is_read(quick):
    with connect(quick) as connection:
        connection.sendall(head(0).replace(b"content-length: 0", b"transfer-encoding: chunked"))
        try:
            for _ in range(1000):  # 100 MB
                connection.sendall(b"186a0\r\n" + b" " * 100_000 + b"\r\n")
        except ConnectionError:
            pass
        assert status_of(rest(connection)) in (413, None)  # None: it was reset while it went on sending
    assert quick.post("/predict", MUSIC)[0] == 200


def test_bodies_together_are_bounded_and_given_back(quick):
    with connect(quick) as one, connect(quick) as two:
        one.sendall(head(19_000) + b" ")
        time.sleep(0.05)
        two.sendall(head(19_000) + b" ")
        assert status_of(rest(two)) == 503
        assert status_of(rest(one)) == 408
    for _ in range(5):
        assert quick.post("/predict", MUSIC + b" " * 15_000)[0] == 200


def test_a_body_that_trickles_is_408(quick):
    started = time.monotonic()
    with connect(quick) as connection:
        connection.sendall(head(100) + b"{")
        got = rest(connection)
    assert status_of(got) == 408
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET /v2 HTTP/1.1\r\nhost: x\r\nx-a: "])
def test_a_head_that_trickles_is_408(quick, sent):
    started = time.monotonic()
    with connect(quick) as connection:
        for byte in sent:
            connection.sendall(bytes([byte]))
        got = rest(connection)
    assert status_of(got) == 408
    assert time.monotonic() - started < 5


def test_the_second_head_of_a_connection_has_its_time_too(quick):
    with connect(quick) as connection:
        connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n")
        assert status_of(connection.recv(65536)) == 200
        connection.sendall(b"GET /v2")
        assert b"408" in rest(connection)


@pytest.mark.parametrize("size", [5_000, 1_000_000])
def test_a_head_that_is_too_large_is_431(quick, size):
    with connect(quick) as connection:
        try:
            connection.sendall(b"GET /v2 HTTP/1.1\r\nhost: x\r\nx-a: " + b"a" * size + b"\r\n\r\n")
        except ConnectionError:
            pass
        assert status_of(rest(connection)) in ((431,) if size == 5_000 else (431, None))


@pytest.mark.parametrize("sent", [b"\0\1\2\3\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\r\n\r\n"])
def test_what_is_no_http_is_400(quick, sent):
    with connect(quick) as connection:
        connection.sendall(sent)
        assert status_of(rest(connection)) == 400


def test_one_connection_too_many_is_503_and_room_comes_back(quick):
    held = [connect(quick) for _ in range(8)]
    try:
        with connect(quick) as connection:
            assert status_of(rest(connection)) == 503
    finally:
        for each in held:
            each.close()
    time.sleep(0.1)
    assert quick.get("/v2/health/live")[0] == 200


def test_an_answer_that_takes_too_long_is_504(quick):
    with Held(quick):
        started = time.monotonic()
        status, _, said = quick.post("/predict", MUSIC)
        assert (status, list(said)) == (504, ["error"])
        assert time.monotonic() - started < 5


def test_what_a_client_that_left_asked_is_never_computed(bundle):
    with live(bundle.path) as server, Held(server) as held:
        first = threading.Thread(target=server.post, args=("/predict", MUSIC))
        first.start()
        assert held.begun.wait(10)
        batcher = server.service._batchers[0]
        with connect(server) as connection:
            connection.sendall(head(len(b'{"inputs": "gone"}')) + b'{"inputs": "gone"}')
            until(lambda: batcher.waiting == 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        until(lambda: batcher._waiting[0].gone())
        held.free.set()
        first.join(10)
        assert server.post("/predict", MUSIC)[0] == 200
        assert held.seen == [["music"], ["music"]]
        assert b'route="/predict",status="499"} 1.0' in server.metrics.text()


def until(true):
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_full_queue_is_503_and_says_when_to_come_back(bundle):
    with live(bundle.path, gathering=Gathering(queue=2)) as server, Held(server) as held:
        asking = [threading.Thread(target=server.post, args=("/predict", MUSIC)) for _ in range(3)]
        asking[0].start()
        assert held.begun.wait(10)
        for each in asking[1:]:
            each.start()
        until(lambda: server.service._batchers[0].waiting == 2)
        status, headers, said = server.post("/predict", MUSIC)
        assert (status, headers["retry-after"]) == (503, "1")
        assert said["error"].startswith("queue: 2 inputs wait, at most 2 expected")
        held.free.set()
        for each in asking:
            each.join(10)
        assert server.post("/predict", {"inputs": ["music"] * 3})[0] == 400


def test_a_token_is_asked_for_but_by_probes(bundle):
    tokens = [b"an-old-token-that-was", b"a-new-token-that-will"]
    with live(bundle.path, tokens=tokens) as server:
        assert server.get("/v2/health/live")[0] == server.get("/v2/health/ready")[0] == 200
        for path in ("/v2", "/metrics", "/openapi.json", "/nothing"):
            status, headers, said = server.get(path)
            assert (status, headers["www-authenticate"], list(said)) == (401, "Bearer", ["error"])
        for wrong in (
            "Bearer",
            "Bearer an-old-token-that-wa",
            "Basic an-old-token-that-was",
            "an-old-token-that-was",
        ):
            assert server.post("/predict", MUSIC, Authorization=wrong)[0] == 401
        for token in tokens:
            assert server.post("/predict", MUSIC, Authorization=f"Bearer {token.decode()}")[0] == 200


def test_request_ids_are_kept_where_they_are_ids(quick):
    assert quick.get("/v2", **{"x-request-id": "a.b-7"})[1]["x-request-id"] == "a.b-7"
    assert len(quick.get("/v2", **{"x-request-id": "a b;" + "c" * 200})[1]["x-request-id"]) == 32


@pytest.mark.slow
def test_good_clients_get_all_their_answers_beside_hostile_ones(bundle):
    bounds = Bounds(head_seconds=1, body_seconds=1, body_bytes=50_000, drain_seconds=10)
    with live(bundle.path, bounds=bounds) as server:
        stop, answers = threading.Event(), []

        def good():
            for index in range(40):
                text, label = (("music", "music"), ("turn off the light", "off"))[index % 2]
                status, _, said = server.post("/predict", {"inputs": text})
                answers.append(status == 200 and said["answers"][0]["label"] == label)

        def hostile(sent):
            while not stop.is_set():
                try:
                    with connect(server) as connection:
                        connection.sendall(sent)
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                except OSError:
                    pass
                time.sleep(0.005)

        attacks = [
            b"\0garbage" * 100,
            head(100_000_000) + b" " * 1_000_000,
            head(50) + b"{",
            head(len(MUSIC)) + MUSIC,
            head(20) + b"\xff" * 20,
            b"GET /v2 HTTP/1.1\r\nx: ",
            json.dumps({"inputs": ["music"] * 100}).encode(),
        ]
        bad = [threading.Thread(target=hostile, args=(each,)) for each in attacks]
        trickling = [connect(server) for _ in range(20)]
        clients = [threading.Thread(target=good) for _ in range(4)]
        for each in [*bad, *clients]:
            each.start()
        for each in clients:
            each.join(60)
        stop.set()
        for each in bad:
            each.join(20)
        for each in trickling:
            each.close()
        assert answers == [True] * 160
        assert b"compactor_queue_waiting" in server.metrics.text()
        assert not [line for line in server.metrics.text().splitlines() if b'status="500"' in line]


def test_head_and_body_come_in_one_part_and_pipelined_requests_in_order(quick):
    asked = [head(len(MUSIC)) + MUSIC, b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n"]
    with connect(quick) as connection:
        connection.sendall(asked[0])
        got = connection.recv(65536)
        assert got.startswith(b"HTTP/1.1 200")
        assert got.endswith(b"}]}")
        connection.sendall(b"".join(asked))
        got = b""
        while got.count(b"HTTP/1.1 200") < 2 or not got.endswith(b"}"):
            got += connection.recv(65536)
        assert got.index(b'"answers"') < got.index(b'{"live":true}')


def test_a_path_that_is_looked_up_is_answered_as_one_that_is_searched(all_kinds):
    def told(path):
        status, headers, said = all_kinds.post(path, {"inputs": "music"})
        return status, [(name, value) for name, value in headers.items() if name not in IDS], said

    assert told("/models/words/predict") == told("/models/w%6Frds/predict")
    assert told("/v2/models/words/infer") == told("/v2/models/w%6Frds/infer")


def test_two_requests_have_two_ids(quick):
    ids = {quick.get("/v2/health/live")[1]["x-request-id"] for _ in range(20)}
    assert len(ids) == 20
