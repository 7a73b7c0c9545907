"""What is counted for Prometheus, in a registry of its own; no label holds what a client sends."""

from collections.abc import Callable
from typing import Any

from compactor_runtimes.errors import needs_extra
from compactor_runtimes.server.batching import Batch, Batcher

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counters and histograms of one server."""

    def __init__(self) -> None:
        """Make the registry.

        Raises:
            MissingDependency: prometheus-client is not installed.
        """
        with needs_extra("serve"):
            from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self._registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": self._registry}
        self._requests = Counter(
            "compactor_requests", "Requests answered.", ["route", "method", "status"], **own
        )
        self._request_seconds = Histogram(
            "compactor_request_seconds", "From the head of a request to its answer.", ["route"],
            buckets=_SECONDS, **own,
        )  # fmt: skip
        self._sizes = Histogram(
            "compactor_batch_size", "Inputs answered in one batch.", ["model"], buckets=_SIZES, **own
        )
        self._batch_seconds = Histogram(
            "compactor_batch_seconds", "What the model took for a batch.", ["model"], buckets=_SECONDS, **own
        )
        self._waited = Histogram(
            "compactor_queue_seconds", "How long the oldest input of a batch had waited.", ["model"],
            buckets=_SECONDS, **own,
        )  # fmt: skip
        self._waiting = Gauge("compactor_queue_waiting", "Inputs that wait.", ["model"], **own)
        self._known: dict[tuple[str, str, int], tuple[Any, Any]] = {}
        self._ready = Gauge("compactor_ready", "1 where the golden cases of all models have passed.", **own)

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one request; `route` is a template, never a path."""
        found = self._known.get((route, method, status))
        if found is None:
            found = self._requests.labels(route, method, str(status)), self._request_seconds.labels(route)
            self._known[route, method, status] = found
        counter, histogram = found
        counter.inc()
        histogram.observe(seconds)

    def observer(self, model: str) -> Callable[[Batch], None]:
        """What counts the batches of a model."""
        sizes, seconds, waited = (
            each.labels(model) for each in (self._sizes, self._batch_seconds, self._waited)
        )

        def observe(batch: Batch) -> None:
            sizes.observe(batch.size)
            seconds.observe(batch.seconds)
            waited.observe(batch.waited_s)

        return observe

    def watch(self, model: str, batcher: Batcher) -> None:
        """Show how many wait for a model, whenever somebody looks."""
        self._waiting.labels(model).set_function(lambda: batcher.waiting)

    def watch_ready(self, ready: Callable[[], bool]) -> None:
        """Show whether the server is ready."""
        self._ready.set_function(lambda: float(ready()))

    def text(self) -> bytes:
        """All of it, in the format of Prometheus."""
        from prometheus_client import generate_latest

        return generate_latest(self._registry)
