"""A real server on a free port of this machine, in a thread, and a client of the standard library."""

import http.client
import json
import threading
import time
from contextlib import contextmanager

from compactor_runtimes.server.metrics import Metrics
from compactor_runtimes.server.run import listening, make_server
from compactor_runtimes.server.service import Service, named_from
from compactor_runtimes.server.settings import Bounds


class Live:
    """A server that runs: ask it, or reach its service."""

    def __init__(self, port, service, server, metrics):
        self.port, self.service, self.server, self.metrics = port, service, server, metrics

    def ask(self, method, path, body=None, headers=None):
        """Status, headers and body of one request on a connection of its own; JSON is read."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.headers.get("content-type") == "application/json":
            content = json.loads(content)
        return answer.status, answer.headers, content

    def post(self, path, value, **headers):
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        return self.ask("POST", path, body, {"content-type": "application/json", **headers})

    def get(self, path, **headers):
        return self.ask("GET", path, headers=headers)


@contextmanager
def live(*bundles, bounds=None, tokens=(), start=True, wait=True, gathering=None, **options):
    """Serve bundles; at the end the server is told to end, and must do so in time."""
    bounds = Bounds(drain_seconds=10) if bounds is None else bounds
    metrics = Metrics()
    options.setdefault("threads", 1)
    service = Service(
        named_from([str(each) for each in bundles]), metrics=metrics, gathering=gathering, **options
    )
    server = make_server(service, metrics, bounds, tokens)
    with listening("127.0.0.1", 0) as bound:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        if start:
            service.start()
        if start and wait:
            assert service.wait(20)
            assert service.failure is None, service.failure
        until = time.monotonic() + 20
        while not server.started and time.monotonic() < until:
            time.sleep(0.005)
        try:
            yield Live(bound.getsockname()[1], service, server, metrics)
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()
            assert service.close(10)
