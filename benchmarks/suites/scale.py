"""More than one process: stores from every launcher, what goes wrong, how fast, and folders on S3.

CIFAR-10, 5,000 images, four crops each, a published ResNet-56, 20 shards, one thread a worker. Ray is a real
cluster of this machine's processors, SLURM submitit's local executor, S3 moto's server on loopback. Timed
parts need the machine for themselves.
"""

from typing import Any

from benchmarks.figures import Figure, Run, spread
from benchmarks.workers import worker_result

NAME = "scale"
COMMAND = "python -m benchmarks.run scale"
WORKER, S3 = "benchmarks.scale_worker", "benchmarks.scale_s3"
BLOCKS = (0, 1, 2)
ONCE = ("stores", "faults", "plan", "ray", "fsdp2", "s3")
TIMED = ("speed", "plan", "ray", "forecast")
LABELS = ("compactor.launch.ahead", "compactor.launch.worker", "compactor.label_store.make", WORKER)
COMPUTES = {
    **{name: LABELS for name in ("stores", "faults", "speed", "ray", "forecast")},
    "plan": ("compactor.label_store.write", "compactor.cache.claims", WORKER),
    "fsdp2": ("compactor.trainer.sharding", "compactor.trainer.fit"),
    "s3": ("compactor_runtimes.objects.publish", "compactor_runtimes.objects.fetch", S3),
}
SETTINGS = {
    "labels": "20,000 crops of 5,000 CIFAR-10 images in 20 shards, cifar:resnet56, one thread a worker",
    "speed": "shards a second by the median shard; bare loops of the teacher for 20 s, one a processor",
    "ray": "seconds between two shards of one actor, as a share of a shard of 60 s",
    "forecast": "what is left of the 20 shards once each worker has made 4, from the times of these",
    "plan": "a store of 10,000,000 samples begun and looked at, one process",
}
ITEM_S = 60.0
LAUNCHED = {"local2": "two local workers", "ray": "two Ray actors", "submitit": "two submitit jobs"}


def plan(runs: list[Run]) -> list[dict[str, Any]]:
    """All subjects; what is timed against each other in blocks."""
    blocks = [{"subject": name, "block": block} for block in BLOCKS for name in ("speed", "forecast")]
    return [*({"subject": name} for name in ONCE), *blocks]


def arm(settings: dict[str, Any]) -> str:
    """Name the group of a subject."""
    return str(settings["subject"])


def execute(settings: dict[str, Any]) -> dict[str, Any]:
    """Run one subject in a fresh process."""
    subject = settings["subject"]
    return worker_result(S3 if subject == "s3" else WORKER, subject)


def figures(runs: list[Run]) -> dict[str, Figure]:
    """What held, and how fast."""
    found: dict[str, Figure] = {}
    of = {
        name: [run["result"] for run in runs if arm(run["settings"]) == name]
        for name in (*ONCE, "speed", "forecast")
    }
    for one in of["stores"]:
        for key, what in LAUNCHED.items():
            about = f"files of the store by {what} equal those by one process ({one['shards']} shards)"
            found[f"{key}_store_equal"] = _yes(one[f"{key}_equal"], one["shards"], about, "stores")
    for one in of["faults"]:
        survived = sum(one.values())
        about = f"of {len(one)} faults end with the undisturbed store: {', '.join(one)}"
        found["faults_survived"] = _count(survived, len(one), about, "faults")
        found["faults_total"] = _count(len(one), len(one), "faults tried", "faults")
    for one in of["plan"]:
        about = "to begin a store of 10,000,000 samples and look at its items"
        for name, key, unit, goal in (
            ("plan_10m_s", "seconds", "s", "< 30"),
            ("plan_10m_mb", "mb", "MB", "< 300"),
        ):
            found[name] = Figure(one[key], unit, 1, one[key], one[key], about, goal, arms=("plan",))
    for one in of["ray"]:
        share = one["between_s"] / ITEM_S
        about = "time between two shards of a Ray actor over a shard of 60 s"
        found["ray_overhead_share"] = Figure(
            share, "share", 20, share, share, about, "<= 0.02", arms=("ray",)
        )
    for one in of["fsdp2"]:
        about = "two processes with FSDP2 equal one to 1e-6, and a checkpoint of two goes on in one and back"
        found["fsdp2_equal"] = _yes(one["passed"], 1, f"{about}: {one['said']}", "fsdp2")
    for one in of["s3"]:
        about = (
            f"of {one['trials']} publishings through connections that break are whole or absent; "
            f"{one['publishings_broken']} gave up and were asked for again"
        )
        found["s3_break_trials_ok"] = _count(one["ok"], one["trials"], about, "s3")
        for key in ("labels", "pool", "bundle"):
            found[f"s3_{key}"] = _yes(one[key], 1, f"{key} published on S3 and used from there", "s3")
    return found | _speed(of["speed"]) | _forecast(of["forecast"])


def _speed(blocks: list[dict[str, Any]]) -> dict[str, Figure]:
    if not blocks:
        return {}
    ours = [one["local2"] / one["local1"] for one in blocks]
    loops = [one["loops2"] / one["loops1"] for one in blocks]
    bound = [a / b for a, b in zip(ours, loops, strict=True)]
    return {
        "local2_speedup": spread(ours, "", "shards a second of two local workers over one", arms=("speed",)),
        "two_loops_speedup": spread(loops, "", "crops a second of two bare loops over one", arms=("speed",)),
        "local2_of_bound": spread(
            bound, "", "the former over the latter, in one block", "0.95 at least", arms=("speed",)
        ),
    }


def _forecast(blocks: list[dict[str, Any]]) -> dict[str, Figure]:
    found = {}
    for workers in ("1", "2"):
        errors = [abs(one["foretold_s"][workers] / one["measured_s"][workers] - 1) for one in blocks]
        if errors:
            about = f"foretold over measured wall time with {workers} workers, minus 1; after 4 shards"
            found[f"forecast_error_{workers}_workers"] = spread(
                errors, "share", about, "<= 0.1", arms=("forecast",)
            )
    return found


def _count(value: int, n: int, about: str, arm: str) -> Figure:
    return Figure(value, "", n, value, value, about, arms=(arm,))


def _yes(is_so: bool, n: int, about: str, arm: str) -> Figure:
    return Figure(float(is_so), "", n, float(is_so), float(is_so), f"1 = {about}", "1", arms=(arm,))
