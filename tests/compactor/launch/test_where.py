"""What `--on` may say."""

import os

import pytest

from compactor.launch.where import Where, parse_where
from compactor_runtimes.errors import UsageError

HERE = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("local", Where("local", 1, HERE)),
        ("local:2,threads=1", Where("local", 2, 1)),
        ("local:2,threads=3,shards=20", Where("local", 2, 3, 20)),
        ("ray:workers=4,gpus=1", Where("ray", 4, 1, None, "", {"gpus": "1"})),
        ("ray:10.0.0.1:6379,workers=2", Where("ray", 2, 1, None, "10.0.0.1:6379")),
        ("slurm:workers=2,processes=4", Where("slurm", 2, 1, None, "", {}, 4)),
        ("ray:auto", Where("ray", 1, 1, None, "auto")),
        ("slurm:workers=8,timeout_min=60", Where("slurm", 8, 1, None, "", {"timeout_min": "60"})),
    ],
)
def test_it_is_read(text: str, expected: Where) -> None:
    assert parse_where(text) == expected
    assert parse_where(expected.text) == expected


def test_local_workers_share_the_processors() -> None:
    assert parse_where("local:2").threads == max(1, HERE // 2)
    assert parse_where(f"local:{10 * HERE}").threads == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lokal:2", "expected local:N, ray.*did you mean 'local'"),
        ("local:none", "local got 'none', expected a whole number from 1 on"),
        ("local:0", "local got '0'"),
        ("local:2,threads=x", "threads got 'x'"),
        ("local:2,3", "--on local: got '3', expected KEY=VALUE, each key once"),
        ("local:2,threads=1,threads=2", "got 'threads=2', expected KEY=VALUE, each key once"),
        ("local:2,thread=1", "option 'thread' is not known"),
        ("ray:gpu=1", "option 'gpu' is not known"),
        ("ray:gpus=one", "--on ray: gpus got 'one', expected a number above 0"),
        ("ray:memory_gb=-1", "memory_gb got '-1'"),
        ("ray:gpus=0", "gpus got '0'"),
        ("slurm:long", "got 'long' in"),
        ("", "got ''"),
    ],
)
def test_what_means_nothing_is_refused(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_where(text)
