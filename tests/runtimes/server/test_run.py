"""The command as a process: it starts, answers, drains on SIGTERM, and ends with the right exit code."""

import http.client
import json
import signal
import socket
import threading
import time

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.command_line import compactor, start_compactor
from tests.runtimes.text_bundles import write_text_bundle


@pytest.fixture
def bundle(tmp_path):
    return write_text_bundle(tmp_path / "bundle")


def started(bundle, tmp_path, *more):
    """A process and its port, once it is ready."""
    process = start_compactor("serve", str(bundle.path), "--port", "0", "--threads", "1", *more, cwd=tmp_path)
    port, ready = None, False
    for line in process.stderr:
        said = json.loads(line)
        port = said.get("port", port)
        ready = ready or said["message"] == "model is ready"
        if port and ready:
            return process, port
    raise AssertionError(process.wait(20))


def ask(port, path="/predict", body=b'{"inputs": "music"}'):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", path, body, {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


HEAD = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 19\r\n\r\n"


def ended(process):
    process.kill()
    process.wait()
    process.stdout.close()
    process.stderr.close()


def refused_after(port):
    """Wait until no new connection is taken."""
    for _ in range(1000):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            return
        threading.Event().wait(0.01)
    raise AssertionError("it still listens")


@pytest.mark.heavy
def test_it_answers_what_has_begun_and_ends_with_0_on_sigterm(bundle, tmp_path):
    process, port = started(bundle, tmp_path, "--max-delay-ms", "0")
    try:
        assert ask(port)[1]["answers"][0]["label"] == "music"
        body = json.dumps({"inputs": ["music"] * 200}).encode()
        statuses = []
        asking = [threading.Thread(target=lambda: statuses.append(ask(port, body=body)[0])) for _ in range(4)]
        with socket.create_connection(("127.0.0.1", port)) as begun:  # its body is on its way
            begun.sendall(HEAD + b"{")
            for each in asking:
                each.start()
            for each in asking:
                each.join(30)
            process.send_signal(signal.SIGTERM)
            refused_after(port)
            begun.sendall(b'"inputs": "music"}')
            assert begun.recv(65536).startswith(b"HTTP/1.1 200")
        assert set(statuses) <= {200, 503}
        assert 200 in statuses
        rest = process.stderr.read()
        assert process.wait(30) == 0
        assert json.loads(rest.splitlines()[-1])["message"] == "closed"
        assert json.loads(rest.splitlines()[-1])["drained"] is True
    finally:
        ended(process)


@pytest.mark.heavy
def test_what_never_ends_is_not_waited_for_longer_than_was_said(bundle, tmp_path):
    process, port = started(bundle, tmp_path, "--bound", "drain-seconds=1", "--bound", "body-seconds=60")
    try:
        with socket.create_connection(("127.0.0.1", port)) as begun:
            begun.sendall(b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 20\r\n\r\n{")
            threading.Event().wait(0.2)
            process.send_signal(signal.SIGTERM)
            process.stderr.read()
            assert process.wait(15) == 0
    finally:
        ended(process)


@pytest.mark.heavy
def test_golden_cases_that_do_not_pass_end_the_process_with_3(bundle, tmp_path):
    path = bundle.path / "golden/t.safetensors"
    changed = {
        name: one + np.float32(1) if name.endswith(".out") else one for name, one in load_file(path).items()
    }
    save_file(changed, path)
    bundle.rehash()
    process = start_compactor("serve", str(bundle.path), "--port", "0", cwd=tmp_path)
    try:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 3
        assert said.splitlines()[-1].startswith("error: ")
    finally:
        ended(process)


def test_what_is_wrong_on_the_command_line_is_said_before_anything_listens(bundle, tmp_path):
    for more, reason in (
        (["--bound", "bodies=1"], "bound 'bodies=1'"),
        (["--limit", "pixel=1"], "limit 'pixel=1'"),
        (["--token-file", "none"], "none: cannot be read"),
        ([str(bundle.path)], "is named 'words'"),
    ):
        found = compactor("serve", str(bundle.path), *more, cwd=tmp_path)
        assert found.returncode == 2
        assert reason in found.stderr


def test_an_address_that_is_taken_is_said(tmp_path):
    from compactor_runtimes.errors import UnfitEnvironmentError
    from compactor_runtimes.server.run import listening

    with listening("127.0.0.1", 0) as bound:
        port = bound.getsockname()[1]
        with pytest.raises(UnfitEnvironmentError, match=rf"127.0.0.1:{port}: cannot be listened at"):
            listening("127.0.0.1", port)


def test_an_answer_on_a_kept_connection_does_not_wait_for_an_acknowledgement(words):
    """Head and body are two writes; the second held back until the first is acknowledged takes 40 ms."""
    connection = http.client.HTTPConnection("127.0.0.1", words.port, timeout=20)
    took = []
    for _ in range(15):
        begun = time.perf_counter()
        connection.request("GET", "/v2")
        connection.getresponse().read()
        took.append(time.perf_counter() - begun)
    connection.close()
    assert sorted(took)[7] < 0.03
