"""What a recipe's pool is made of and under which keys: scores, matches, and what is taken, each by its own.

The three lie in folders that are named by their keys, so that another setting never mixes with what is there:
another `take` uses the same scores and matches, other thresholds the same scores.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shutil import disk_usage

import msgspec

from compactor.cache.code import code_digest
from compactor.cache.digest import TOOLS, digest_of, tool_versions
from compactor.data.pool_file import POOL_FILE
from compactor.data.spec import AugmentSpec
from compactor.data.splits import Dataset
from compactor.label_store.header import Head, Header, Part, Transform
from compactor.label_store.quantization import payload_of
from compactor.label_store.write import MOST_SHARDS, forecast_bytes, ids_file
from compactor.mixers import DEFAULT_MIXER, MIXERS
from compactor.models import WRAPPERS
from compactor.models.references import Identities, model_sources
from compactor.pool.candidates import Candidates
from compactor.pool.copies import References
from compactor.recipe.load import LoadedRecipe
from compactor.recipe.spec import ModelSpec, PoolSpec
from compactor.run.labels import described_teacher, teacher_order
from compactor.tasks import TASKS
from compactor_runtimes.errors import UnfitEnvironmentError
from compactor_runtimes.units import scaled

SHARD_ROWS = 1024  # images of a shard, of which at most one is lost when a process is killed
POOL_FOLDER = "pool"


@dataclass(frozen=True)
class PoolJob:
    """A pool to make in `folder`: `header` is that of its label store, keys are digests."""

    loaded: LoadedRecipe
    folder: Path
    data: Dataset
    candidates: Candidates
    references: References
    header: Header
    scores_key: str
    matches_key: str
    key: str

    @property
    def spec(self) -> PoolSpec:
        """The recipe's part `pool`."""
        assert self.loaded.recipe.pool is not None
        return self.loaded.recipe.pool

    @property
    def file(self) -> Path:
        """The pool's own file."""
        return self.folder / POOL_FILE

    @property
    def scores(self) -> Path:
        """Folder of the label store and the features."""
        return self.folder / "scores" / self.scores_key[:12]

    @property
    def matches(self) -> Path:
        """Folder of what near-duplicates were found."""
        return self.folder / "matches" / self.matches_key[:12]

    @property
    def chosen(self) -> Path:
        """Folder of the rows that are taken and of the list of those that were removed."""
        return self.folder / "chosen" / self.key[:12]

    def require_space(self, features_bytes: int) -> str:
        """Refuse to start what the disk cannot hold; say how large it will be.

        Raises:
            UnfitEnvironmentError: it has less free space than scores and features will take.
        """
        labels = forecast_bytes(self.header)
        place = self.folder
        while not place.exists():
            place = place.parent
        there = sum(path.stat().st_size for path in self.scores.glob("*.npy"))
        free, needed = disk_usage(place).free, max(labels + features_bytes - there, 0)
        size = f"{scaled(labels, 'B')} of labels and {scaled(features_bytes, 'B')} of features"
        if needed > free:
            raise UnfitEnvironmentError(
                f"pool {self.folder}: will take {size}, the disk has {scaled(free, 'B')} free; name fewer "
                "images in pool.sources, lower pool.k, or give another folder with --out"
            )
        return size


def pool_job(
    loaded: LoadedRecipe,
    folder: Path,
    data: Dataset,
    candidates: Candidates,
    *,
    done: Mapping[str, Path],
) -> PoolJob:
    """Describe the pool of a recipe.

    Args:
        loaded: the recipe, with a part `pool`.
        folder: where the pool lies or will lie.
        data: the recipe's data, without what is mixed into them.
        candidates: the opened sources.
        done: model folders of the stages that teach.

    Raises:
        UsageError: weights of a teacher cannot be found.
    """
    recipe = loaded.recipe
    assert recipe.pool is not None
    spec, teachers, known = recipe.pool, recipe.pool_teachers, Identities(loaded.base)
    computes = ["compactor.pool.scores", MIXERS[DEFAULT_MIXER], TASKS[recipe.task], WRAPPERS[recipe.task]]
    computes += [name for one in teachers if isinstance(one, ModelSpec) for name in model_sources(one)]
    split = candidates.split
    ids, _, ids_sha256 = ids_file("train", split.rows)
    height, width, channels = split.inputs.shape[1:]
    [head, *_] = data.info.heads
    classes = data.info.classes[head.name]
    header = Header(
        payload=payload_of("marginal-smoothing", spec.k, len(classes)),
        heads=[Head(name=head.name, num_classes=len(classes))],
        boxes="pixels",
        transform=Transform(augment=AugmentSpec(), image=(height, width, channels)),
        teachers=[
            described_teacher(one, known, done) | teacher_order(one, data, loaded.base) for one in teachers
        ],
        classes={head.name: classes},
        data=f"pool of {recipe.name}",
        seed=0,
        precision=spec.precision,
        versions=tool_versions(TOOLS),
        source_digest=code_digest(computes),
        parts=[
            Part(
                split="train",
                rows=len(split),
                views=1,
                source=split.digest,
                ids=ids,
                ids_sha256=ids_sha256,
                shard_rows=max(SHARD_ROWS, -(-len(split) // MOST_SHARDS)),
            )
        ],
    )
    judged = (data.select, data.report, *([data.train] if spec.duplicates.against_train else []))
    references = References(judged)
    scores_key = digest_of([msgspec.to_builtins(header), spec.batch_size])
    matches_key = digest_of(
        [
            scores_key,
            msgspec.to_builtins(spec.duplicates),
            references.identity,
            code_digest(["compactor.pool.compare"]),
        ]
    )
    key = digest_of([matches_key, msgspec.to_builtins(spec.take), code_digest(["compactor.pool.choose"])])
    return PoolJob(loaded, folder, data, candidates, references, header, scores_key, matches_key, key)
