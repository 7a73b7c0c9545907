"""Names, loading in the background, readiness, and what ends a server."""

import logging

import msgspec
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from compactor_runtimes.errors import IntegrityError, NumericGateError, UnavailableError, UsageError
from compactor_runtimes.server.logs import JsonLines
from compactor_runtimes.server.metrics import Metrics
from compactor_runtimes.server.service import Service, named_from
from compactor_runtimes.server.settings import Bounds, Gathering, bounds_from, tokens_from
from tests.runtimes.server.live import live
from tests.runtimes.text_bundles import write_text_bundle


@pytest.fixture
def bundle(tmp_path):
    return write_text_bundle(tmp_path / "bundle")


def test_a_bundle_has_its_own_name_or_the_given_one(bundle):
    assert [each.name for each in named_from([str(bundle.path), f"b={bundle.path}"])] == ["words", "b"]
    for wrong, reason in (
        ([str(bundle.path)] * 2, "is named 'words' as"),
        ([f"a/b={bundle.path}"], "letters, digits"),
        ([f"a.graph={bundle.path}"], "without '.graph' at its end"),
        (["nowhere"], "nowhere"),
        (["a=nowhere"], "nowhere"),
    ):
        with pytest.raises((UsageError, IntegrityError), match=reason):
            named_from(wrong)


def test_a_server_lives_at_once_and_is_ready_when_the_golden_cases_have_passed(bundle):
    with live(bundle.path, start=False) as server:
        assert server.get("/v2/health/live")[0] == 200
        assert server.get("/v2/health/ready")[::2] == (503, {"live": True, "ready": False})
        status, headers, said = server.post("/predict", {"inputs": "music"})
        assert (status, headers["retry-after"]) == (503, "1")
        assert "is not ready" in said["error"]
        assert server.get("/v2/models/words/ready")[0] == 503
        assert server.get("/v2/models/other/ready")[0] == 404
        assert b"compactor_ready 0.0" in server.metrics.text()
        server.service.start()
        assert server.service.wait(20)
        assert server.get("/v2/health/ready")[::2] == (200, {"live": True, "ready": True})
        assert server.post("/predict", {"inputs": "music"})[0] == 200


def test_golden_cases_that_do_not_pass_end_it_with_their_error(bundle):
    path = bundle.path / "golden/t.safetensors"
    tensors = load_file(path)
    save_file(
        {name: one + np.float32(1) if name.endswith(".out") else one for name, one in tensors.items()}, path
    )
    bundle.rehash()
    told = []
    service = Service(named_from([str(bundle.path)]), metrics=Metrics(), threads=1)
    service.start(lambda: told.append(True))
    assert service.wait(20)
    assert isinstance(service.failure, NumericGateError)
    assert told == [True]
    assert not service.ready
    with pytest.raises(UnavailableError):
        service.find("words")


def test_requests_and_batches_are_counted_by_route_not_by_path(words):
    words.get("/made-up-by-a-client")
    words.post("/predict", {"inputs": "music"})
    text = words.get("/metrics")[2].decode()
    assert 'compactor_requests_total{method="GET",route="other",status="404"}' in text
    assert 'compactor_requests_total{method="POST",route="/predict",status="200"}' in text
    assert 'compactor_batch_size_count{model="words"}' in text
    assert "compactor_ready 1.0" in text
    assert "made-up" not in text


def test_logs_are_json_without_inputs(words, caplog):
    with caplog.at_level(logging.INFO, "compactor.access"):
        words.post("/predict?secret=1", {"inputs": "a secret text"}, **{"x-request-id": "id-1"})
        words.get("/v2/health/live", **{"x-request-id": "id-1"})
        words.get("/v2", **{"x-request-id": "id-1"})  # a line is written after its answer was sent
    lines = [JsonLines().format(record) for record in caplog.records if getattr(record, "id", "") == "id-1"]
    said = msgspec.json.decode(lines[0])
    assert (said["id"], said["route"], said["status"], said["level"]) == ("id-1", "/predict", 200, "info")
    assert "secret" not in "".join(lines)
    assert "health" not in "".join(lines)


def test_bounds_are_read_and_checked():
    found = bounds_from(["body-bytes=7", "answer_seconds=0.5"])
    assert (found.body_bytes, found.answer_seconds, found.connections) == (7, 0.5, Bounds().connections)
    for wrong in (
        "body-bytes",
        "body-bytes=x",
        "body-bytes=0",
        "body-bytes=1.5",
        "head-seconds=nan",
        "bodies=1",
    ):
        with pytest.raises(UsageError, match="bound"):
            bounds_from([wrong])


def test_tokens_are_lines_of_a_file(tmp_path):
    path = tmp_path / "tokens"
    path.write_text("\n0123456789abcdef\r\nABCDEF-0123456789\n")
    assert tokens_from(path) == [b"0123456789abcdef", b"ABCDEF-0123456789"]
    for content, reason in (
        (b"\n", "no token"),
        (b"short\n", "token 1: 5 char"),
        ("ü" * 16).encode() and ("ü" * 16, "token 1"),
    ):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(UsageError, match=reason):
            tokens_from(path)
    with pytest.raises(UsageError, match="cannot be read"):
        tokens_from(tmp_path / "none")


def test_the_largest_batch_is_no_larger_than_the_graphs(bundle):
    with live(bundle.path, gathering=Gathering(max_batch=32)) as server:
        raw, graph = server.service._batchers
        assert (raw._max_batch, graph._max_batch) == (4, 1)


def test_several_bundles_do_not_spin_as_far_as_nothing_else_is_said(all_kinds, bundle):
    def spins(service):
        options = service._models[0]._runtime._session.get_session_options()
        return options.get_session_config_entry("session.intra_op.allow_spinning") == "1"

    assert not spins(all_kinds.service)
    both = named_from([f"a={bundle.path}", f"b={bundle.path}"])
    service = Service(both, metrics=Metrics(), threads=1, spinning=True)
    service.start()
    assert service.wait(20)
    assert spins(service)
    assert service.close(10)
