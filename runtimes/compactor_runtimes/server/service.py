"""The bundles that a server serves: loaded and verified in the background, ready when all have passed."""

import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event, Thread
from typing import Any

from msgspec import Struct

from compactor_runtimes.bundle.open import open_bundle
from compactor_runtimes.errors import UnavailableError, UsageError
from compactor_runtimes.predict.loading import load
from compactor_runtimes.predict.model import Model
from compactor_runtimes.server.batching import Batcher
from compactor_runtimes.server.endpoints import Endpoint, GraphCalls, GraphEndpoint, RawEndpoint
from compactor_runtimes.server.metrics import Metrics
from compactor_runtimes.server.settings import Gathering

GRAPH = ".graph"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_log = logging.getLogger("compactor.server")


class Named(Struct, frozen=True):
    """A bundle and the name by which it is served."""

    name: str
    path: Path


def named_from(given: Sequence[str]) -> list[Named]:
    """Read `BUNDLE` or `NAME=BUNDLE`; absent, the name is that of the manifest.

    Raises:
        UsageError: no bundle, a name that fits no path, or two of one name.
        IntegrityError: a bundle is damaged.
    """
    found: dict[str, Named] = {}
    for one in given:
        name, equals, path = one.partition("=")
        if not equals or Path(one).exists():
            name, path = open_bundle(one).manifest.name, one
        else:
            open_bundle(path)
        if not _NAME.fullmatch(name) or name.endswith(GRAPH):
            raise UsageError(
                f"{path}: name {name!r} found, letters, digits, '.', '_' and '-' expected, without {GRAPH!r} "
                "at its end; give NAME=BUNDLE"
            )
        if name in found:
            raise UsageError(f"{path}: is named {name!r} as {found[name].path} is; give NAME=BUNDLE")
        found[name] = Named(name, Path(path))
    return list(found.values())


class Service:
    """Models by name; `start` loads them, `close` ends what they do.

    Attributes:
        names: of all bundles, ready or not.
        failure: what ended loading; None where nothing did.
    """

    def __init__(
        self,
        bundles: Sequence[Named],
        *,
        gathering: Gathering | None = None,
        metrics: Metrics,
        **options: Any,
    ) -> None:
        """Note what to load.

        Args:
            bundles: see `named_from`.
            gathering: how batches are gathered; None takes the defaults.
            metrics: is told of batches.
            options: of `load`; where several are served none of them spins, as far as nothing else is said.
        """
        self.names = [each.name for each in bundles]
        self.failure: BaseException | None = None
        if len(bundles) > 1 and options.get("spinning") is None:
            options["spinning"] = False  # threads of one that waits would keep others from their cores
        self._bundles, self._options, self._metrics = bundles, options, metrics
        self._gathering = Gathering() if gathering is None else gathering
        self._endpoints: dict[str, Endpoint] = {}
        self._models: list[Model] = []
        self._batchers: list[Batcher] = []
        self._done = Event()
        self._closing = False
        self._thread: Thread | None = None

    @property
    def ready(self) -> bool:
        """Whether the golden cases of all have passed, and nothing is closing."""
        return self._done.is_set() and self.failure is None and not self._closing

    def start(self, failed: Callable[[], None] = lambda: None) -> None:
        """Load all in the background; `failed` is called when one cannot be."""
        self._thread = Thread(target=self._load_all, args=(failed,), name="compactor-loader", daemon=True)
        self._thread.start()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until loading has ended; whether it was within `seconds`."""
        return self._done.wait(seconds)

    def find(self, name: str) -> Endpoint | None:
        """The model of a name; None where there is none.

        Raises:
            UnavailableError: it is not ready yet, or closing.
        """
        found = self._endpoints.get(name)
        if self._closing or (found is None and name.removesuffix(GRAPH) in self.names and not self.ready):
            raise UnavailableError(f"model {name!r}: is not ready; ask again when v2/health/ready says so")
        return found

    def raw(self, name: str | None) -> RawEndpoint | None:
        """The model of raw inputs of a name, or the only one.

        Raises:
            UnavailableError: see `find`.
        """
        if name is None and len(self.names) != 1:
            return None
        found = self.find(self.names[0] if name is None else name)
        return found if isinstance(found, RawEndpoint) else None

    def close(self, seconds: float | None = None) -> bool:
        """Answer what waits, at most for `seconds`, and release the models; whether all was answered."""
        self._closing = True
        done = [batcher.close(seconds=seconds) for batcher in self._batchers]
        if all(done):  # a runtime that still computes must not be released
            for model in self._models:
                model.close()
        return all(done)

    def _load_all(self, failed: Callable[[], None]) -> None:
        try:
            for each in self._bundles:
                self._load(each)
        except BaseException as error:  # the thread that waits for the server raises it
            self.failure = error
            failed()
        finally:
            self._done.set()

    def _load(self, bundle: Named) -> None:
        model = load(bundle.path, verify=True, **self._options)
        model.warm_up()
        self._models.append(model)
        gathering, largest = self._gathering, min(port.max[0] for port in model.bundle.manifest.main.inputs)

        def batcher(asked: Any, name: str, size: int) -> Batcher:
            observe = self._metrics.observer(name)
            made = Batcher(asked, size, gathering.max_delay_s, gathering.queue, observe=observe)
            self._metrics.watch(name, made)
            self._batchers.append(made)
            return made

        raw = batcher(model, bundle.name, min(gathering.max_batch, largest))
        endpoints: list[Endpoint] = [RawEndpoint(bundle.name, model, raw, gathering.queue)]
        if GraphEndpoint.fits(model):
            name = bundle.name + GRAPH
            endpoints.append(GraphEndpoint(name, model, batcher(GraphCalls(model), name, 1)))
        for each in endpoints:
            self._endpoints[each.name] = each
        _log.info("model is ready", extra={"model": bundle.name, "artifact": model.artifact.name})
