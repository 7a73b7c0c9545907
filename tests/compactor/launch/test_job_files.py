"""Job files against published schemas, or the required fields of their documentation."""

import subprocess
from pathlib import Path

import pytest
import yaml

from compactor.launch.job_files import job_file, parse_job
from compactor_runtimes.errors import UsageError

WORDS = ["run", "my recipe.yaml", "--set", "stages.0.epochs=3"]

# https://docs.ray.io/en/latest/cluster/kubernetes/getting-started/rayjob-quick-start.html and the CRD's
# `required` lists (ray-project/kuberay, ray.io_rayjobs.yaml): what a RayJob must have
RAYJOB_REQUIRED = {
    ("apiVersion",): "ray.io/v1",
    ("kind",): "RayJob",
    ("metadata", "name"): str,
    ("spec", "entrypoint"): str,
    ("spec", "rayClusterSpec", "headGroupSpec", "rayStartParams"): dict,
    ("spec", "rayClusterSpec", "headGroupSpec", "template", "spec", "containers"): list,
    ("spec", "rayClusterSpec", "workerGroupSpecs", 0, "groupName"): str,
    ("spec", "rayClusterSpec", "workerGroupSpecs", 0, "maxReplicas"): int,
    ("spec", "rayClusterSpec", "workerGroupSpecs", 0, "minReplicas"): int,
    ("spec", "rayClusterSpec", "workerGroupSpecs", 0, "rayStartParams"): dict,
    ("spec", "rayClusterSpec", "workerGroupSpecs", 0, "template", "spec", "containers"): list,
}


def test_a_slurm_batch_is_bash_and_starts_torchrun_on_every_node(tmp_path: Path) -> None:
    text = job_file(parse_job("slurm:nodes=2,gpus=4,cpus=8,partition=long"), "my-recipe", WORDS)
    path = tmp_path / "job.sbatch"
    path.write_text(text)
    subprocess.run(["bash", "-n", str(path)], check=True)
    options = [line.removeprefix("#SBATCH --") for line in text.splitlines() if line.startswith("#SBATCH")]
    assert {"nodes=2", "gpus-per-node=4", "cpus-per-task=8", "partition=long", "requeue"} <= set(options)
    assert "--nproc-per-node=4" in text
    assert "-m compactor run 'my recipe.yaml' --set stages.0.epochs=3 &" in text
    assert "partition" not in job_file(parse_job("slurm"), "x", WORDS)


def test_a_batch_that_is_told_to_stop_waits_and_is_queued_again(tmp_path: Path) -> None:
    """The file itself, with srun and scontrol that only tell what they were asked."""
    text = job_file(parse_job("slurm"), "x", ["run", "digits"])
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, body in (
        ("srun", "trap 'echo stopped; exit 130' TERM; kill -TERM $PPID; sleep 5 & wait"),
        ("scontrol", 'echo "scontrol $*"'),
    ):
        (tools / name).write_text(f"#!/bin/bash\n{body}\n")
        (tools / name).chmod(0o755)
    (tmp_path / "job").write_text(text)
    env = {
        "PATH": f"{tools}:/usr/bin:/bin",
        "SLURM_JOB_ID": "7",
        "SLURM_NNODES": "1",
        "SLURM_JOB_NODELIST": "n1",
    }
    done = subprocess.run(
        ["bash", str(tmp_path / "job")], capture_output=True, text=True, env=env, timeout=20, check=False
    )
    assert done.stdout.splitlines() == ["stopped", "scontrol requeue 7"]


def test_a_rayjob_has_all_that_its_definition_requires() -> None:
    found = yaml.safe_load(job_file(parse_job("rayjob:nodes=3,gpus=1,image=a/b,claim=c"), "My_Recipe", WORDS))
    for path, expected in RAYJOB_REQUIRED.items():
        at = found
        for key in path:
            at = at[key]
        assert isinstance(at, expected) if isinstance(expected, type) else at == expected
    assert found["metadata"]["name"] == "my-recipe"
    spec = found["spec"]
    assert spec["entrypoint"] == (
        "compactor run 'my recipe.yaml' --set stages.0.epochs=3 --runs /runs --on "
        "ray:auto,workers=3,threads=4,gpus=1"
    )
    [worker] = spec["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"]["containers"]
    assert worker["resources"]["limits"] == {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "1"}
    assert {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"} in worker["env"]
    assert worker["volumeMounts"] == [{"name": "runs", "mountPath": "/runs"}]


def test_a_trainjob_fits_the_published_model() -> None:
    models = pytest.importorskip("kubeflow_trainer_api.models")
    text = job_file(parse_job("trainjob:nodes=2,gpus=2,image=a/b,claim=c"), "x", WORDS)
    found = yaml.safe_load(text)
    read = models.TrainerV1alpha1TrainJob.from_dict(found)
    assert read.to_dict() == found  # nothing that the model does not know
    assert read.spec.runtime_ref.name == "torch-distributed"
    assert (read.spec.trainer.num_nodes, read.spec.trainer.args[:2]) == (2, ["run", "my recipe.yaml"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("pbs", "got 'pbs', expected slurm, rayjob, trainjob"),
        ("slurm:nodes=0", "nodes got '0', expected a whole number from 1 on"),
        ("slurm:node=1", "option 'node' is not known"),
        ("rayjob:nodes=2,claim=c", "image is missing; add image="),
        ("trainjob:image=a", "claim is missing; add claim="),
        ("slurm:nodes", "got 'nodes', expected KEY=VALUE"),
    ],
)
def test_what_means_nothing_is_refused(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_job(text)
