"""Published folders on a real S3 protocol: moto's server on loopback, and connections that break.

Usage: python -m benchmarks.scale_s3
"""

import json
import os
import random
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.breaking_proxy import BreakingProxy

TRIALS = 100
LEFT = (61_500, 65_000, 100_000)  # bytes after which a connection breaks, at most; a shard has 60,000
BUCKET = "team"


def serve() -> Any:
    """Start moto's server and say to fsspec where it is."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    use(port)
    os.environ |= {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    import boto3

    endpoint = f"http://127.0.0.1:{port}"
    boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket=BUCKET)
    return port


def use(port: int) -> None:
    """Let s3:// addresses mean this port from now on."""
    import fsspec
    import s3fs
    from fsspec.config import conf

    s3fs.S3FileSystem.retries = 1  # what is tried again is tried by us
    conf["s3"] = {
        "endpoint_url": f"http://127.0.0.1:{port}",
        "skip_instance_cache": True,
        "config_kwargs": {"retries": {"total_max_attempts": 1}, "connect_timeout": 2, "read_timeout": 2},
    }
    fsspec.config.conf = conf


def trials(port: int) -> dict[str, Any]:
    """Publish through connections that break; what is then read is whole or refused."""
    from compactor_runtimes.errors import UnfitEnvironmentError, UsageError
    from compactor_runtimes.objects import store
    from compactor_runtimes.objects.fetch import fetched
    from compactor_runtimes.objects.publish import publish

    store.WAIT_S, ok, broken = 0.0, 0, 0
    for seed in range(TRIALS):
        chance = random.Random(seed)
        with tempfile.TemporaryDirectory() as place:
            os.environ["COMPACTOR_CACHE"] = f"{place}/cache"
            folder, address = Path(place) / "folder", f"s3://{BUCKET}/trial-{seed}"
            made = _folder(folder, chance)
            most = LEFT[seed % len(LEFT)]
            with BreakingProxy(port, lambda chance=chance, most=most: chance.randrange(most)) as proxy:
                use(proxy.port)
                try:
                    publish(folder, address)
                except UnfitEnvironmentError:
                    broken += 1
                try:
                    found = _contents(fetched(address, what="trial"))
                except (UnfitEnvironmentError, UsageError):
                    found = None
            use(port)
            try:
                direct = _contents(fetched(address, what="trial"))
            except UsageError:  # nothing there, or not to its end
                direct = None
            publish(folder, address)
            last = _contents(fetched(address, what="trial"))
            ok += found in (None, made) and direct in (None, made) and last == made
    return {"trials": TRIALS, "ok": ok, "publishings_broken": broken}


def _folder(folder: Path, chance: random.Random) -> dict[str, bytes]:
    folder.mkdir()
    made = {f"shard-{number}.npy": chance.randbytes(60_000) for number in range(4)} | {"store.json": b"{}"}
    for name, content in made.items():
        (folder / name).write_bytes(content)
    return made


def _contents(place: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in place.iterdir() if not path.name.startswith(".")}


def there_and_back() -> dict[str, bool]:
    """Labels, a pool and a bundle by s3:// addresses: trained, mixed in and answered from there."""
    with tempfile.TemporaryDirectory() as place:
        os.environ["COMPACTOR_CACHE"] = f"{place}/cache"
        return {"labels": _labels(Path(place)), "pool": _pool(Path(place)), "bundle": _bundle(Path(place))}


def _labels(place: Path) -> bool:
    """A student that is trained from the published store is the one that is trained from the local store."""
    import msgspec

    from benchmarks.scale_recipe import contents, label, recipe
    from compactor.locate import locate
    from compactor_runtimes.objects.publish import publish

    address, loaded, replace = f"s3://{BUCKET}/labels", recipe(), msgspec.structs.replace
    store, _ = label(place / "runs", "local:2,threads=1")
    publish(store, address)
    [stage] = loaded.recipe.stages
    named = replace(stage, labels=replace(stage.labels, store=address))
    from_s3 = replace(loaded, recipe=replace(loaded.recipe, stages=[named]))
    students = [_student(loaded, place / "runs"), _student(from_s3, place / "others")]
    return contents(locate(address, None, what="labels")) == contents(store) and len(set(students)) == 1


def _student(loaded: Any, runs: Path) -> bytes:
    from compactor.cache.journal import Journal
    from compactor.progress import SilentReporter
    from compactor.run.plan import make_plan
    from compactor.run.stages import StageRunner

    plan = make_plan(loaded, runs)
    folder = StageRunner(plan, SilentReporter(), Journal(None)).run(plan.stages[0])
    return (folder / "student" / "model.safetensors").read_bytes()


def _pool(place: Path) -> bool:
    """A pool of the images that are left of CIFAR-10's train file; its rows are trained on by its address."""
    import msgspec

    from benchmarks.scale_recipe import recipe
    from compactor.pool.build import build_pool
    from compactor.run.plan import make_plan
    from compactor_runtimes.objects.publish import publish

    plain = msgspec.to_builtins(recipe().recipe)
    few = plain["data"] | {"limit": {"train": 40_000, "select": 500, "report": 500}}
    pool = {"sources": [{"dataset": "cifar10"}], "take": {"by": "score", "top": 20}}
    built = build_pool(recipe(data=few, pool=pool), runs=place / "pools")
    publish(built.file.parent, f"s3://{BUCKET}/pool")
    opened = []
    for also in ([], [{"dataset": str(built.file)}], [{"dataset": f"s3://{BUCKET}/pool/pool.json"}]):
        [stage] = make_plan(recipe(data=few | {"also": also}), place / "mixed").stages
        opened.append(len(stage.data.train))
    assert built.record is not None
    return opened[1] == opened[2] == opened[0] + built.record.kept


def _bundle(place: Path) -> bool:
    """The bundle of a short run answers its golden cases from its address."""
    import compactor_runtimes
    from compactor.recipe.load import load_recipe, smoke
    from compactor.run.pipeline import run_recipe
    from compactor_runtimes.bundle.open import open_bundle
    from compactor_runtimes.objects.publish import publish

    result = run_recipe(smoke(load_recipe("digits")), runs=place / "digits")
    assert result is not None
    publish(result.bundle, f"s3://{BUCKET}/bundle")
    with compactor_runtimes.load(f"s3://{BUCKET}/bundle", verify=True) as model:
        return model.bundle.manifest == open_bundle(result.bundle).manifest


def main() -> None:
    """Print one JSON line."""
    port = serve()
    print(json.dumps(there_and_back() | trials(port)))


if __name__ == "__main__":
    main()
