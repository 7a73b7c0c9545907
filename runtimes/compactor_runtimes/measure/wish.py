"""What a choice among variants goes by; a record for recipes, profiles and reports alike."""

from typing import Annotated, Literal

from msgspec import Meta

from compactor_runtimes.bundle.manifest import Record

Policy = Literal["latency", "size", "memory", "accuracy"]
Least = Annotated[float, Meta(ge=1)]


class Wish(Record, frozen=True):
    """What the choice among variants goes by, with bounds on the rest; None bounds nothing.

    `max_slower` and `max_larger` are how many times the time of the fastest and the size of the smallest are
    accepted, `max_memory` how many times the memory of the least; `max_drop_points` how many points may be
    lost on select.
    """

    by: Policy = "latency"
    max_slower: Least | None = None
    max_larger: Least | None = None
    max_memory: Least | None = None
    max_drop_points: Annotated[float, Meta(ge=0)] | None = None
