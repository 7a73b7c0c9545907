"""Methods: presets that turn a stage's options into objectives, a target policy and a sampler.

A new method is one file with a METHOD, one line in METHODS and one test.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from compactor.records import Activation
from compactor_runtimes.errors import UsageError
from compactor_runtimes.tables import lookup, nearest

if TYPE_CHECKING:
    from compactor.methods.from_store import Stored
    from compactor.trainer.contracts import Preset

METHODS = {
    "supervised": "compactor.methods.supervised:METHOD",
    "kd": "compactor.methods.kd:METHOD",
    "fkd": "compactor.methods.fkd:METHOD",
    "ferkd": "compactor.methods.ferkd:METHOD",
    "meal_v2": "compactor.methods.meal_v2:METHOD",
    "encoder": "compactor.methods.encoder:METHOD",
    "embedding": "compactor.methods.embedding:METHOD",
}


@dataclass(frozen=True)
class Method:
    """A method's options record, whether it learns from teachers, and how a preset is built.

    `build` makes it from the options, for live teachers or none; `build_stored` from the options and a label
    store, for a stage with `labels`. A method may have one of them or both: objectives that read the target
    alone can learn from either. `sources` are the modules whose source decides what the method computes
    (they enter the cache key).
    `activation` is that of the heads whose outputs its objectives compare: it fits the tasks that have these.
    """

    options: type[msgspec.Struct]
    build: "Callable[[Any], Preset] | None"
    learns_from_teachers: bool
    build_stored: "Callable[[Any, Stored], Preset] | None" = None
    sources: tuple[str, ...] = field(default=())
    activation: Activation = "softmax"


def method_named(name: str, at: str) -> Method:
    """Look a method up; `at` says where the name was found.

    Raises:
        UsageError: no such method.
    """
    if name not in METHODS:
        raise UsageError(f"{at}.method: unknown method {name!r}; {nearest(name, METHODS)}")
    method: Method = lookup(METHODS, name, "method")
    return method


def parse_options(method: Method, options: dict[str, Any], at: str) -> msgspec.Struct:
    """Check a stage's options against the method's record.

    Raises:
        UsageError: an unknown option or a wrong value.
    """
    known = [item.encode_name for item in msgspec.structs.fields(method.options)]
    for key in options:
        if key not in known:
            raise UsageError(
                f"{at}.options.{key}: unknown option; {nearest(key, known) if known else 'it has none'}"
            )
    try:
        return msgspec.convert(options, method.options)
    except msgspec.ValidationError as error:
        what, _, where = str(error).replace("`", "").partition(" - at $")
        raise UsageError(f"{at}.options{where}: {what}") from error
