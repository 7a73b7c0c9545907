"""What an operator submits: the same command as a SLURM batch, a KubeRay RayJob or a Kubeflow TrainJob.

1. `slurm`: torchrun on every node by srun; near its time limit it is put into the queue again and goes on.
2. `rayjob`: the command with `--on ray:auto` on a cluster that lives as long as the job.
3. `trainjob`: torchrun on every node of the runtime `torch-distributed` (Kubeflow Trainer from 2.2 on).

Runs lie in a folder that all nodes see: a shared file system, on Kubernetes a claim of a volume.
"""

import shlex
from collections.abc import Callable
from typing import Any

import yaml
from msgspec import Struct

from compactor.launch.where import parse_options
from compactor_runtimes.errors import UsageError
from compactor_runtimes.tables import nearest

RUNS = "/runs"  # where the claim is mounted
WARN_S = 120  # before the time limit, for the step at hand and its checkpoint
TIME_LIMIT = "24:00:00"
MANAGER = "compactor/job-file"  # who owns what we change of a runtime


class JobSpec(Struct, frozen=True):
    """`nodes` machines with `gpus`, `cpus` and `memory_gb` each; `image` and `claim` are of Kubernetes."""

    kind: str
    nodes: int = 1
    gpus: int = 0
    cpus: int = 4
    memory_gb: int = 16
    time: str = TIME_LIMIT
    partition: str = ""
    image: str = ""
    claim: str = ""


def parse_job(text: str) -> JobSpec:
    """Read `slurm:nodes=2,gpus=1` or `rayjob:nodes=4,image=REGISTRY/IMAGE,claim=VOLUME`.

    Raises:
        UsageError: an unknown kind or option, or an image or a claim that is missing.
    """
    kind, _, rest = text.partition(":")
    if kind not in JOB_FILES:
        raise UsageError(
            f"--emit: got {kind!r}, expected {', '.join(JOB_FILES)}; {nearest(kind, list(JOB_FILES))}"
        )
    defaults = {name: getattr(JobSpec(kind), name) for name in JobSpec.__struct_fields__ if name != "kind"}
    found: dict[str, Any] = {}
    for key, value in parse_options(rest, f"--emit {kind}").items():
        if key not in defaults:
            raise UsageError(f"--emit {kind}: option {key!r} is not known; {nearest(key, list(defaults))}")
        if isinstance(defaults[key], int):
            least = 0 if key == "gpus" else 1
            if not value.isdecimal() or int(value) < least:
                raise UsageError(
                    f"--emit {kind}: {key} got {value!r}, expected a whole number from {least} on"
                )
            found[key] = int(value)
        else:
            found[key] = value
    spec = JobSpec(kind, **found)
    for key in ("image", "claim") if kind != "slurm" else ():
        if not getattr(spec, key):
            raise UsageError(
                f"--emit {kind}: {key} is missing; add {key}=... (image: with compactor-toolkit[train]; "
                f"claim: of a volume that all nodes see, mounted at {RUNS})"
            )
    return spec


def job_file(spec: JobSpec, name: str, words: list[str]) -> str:
    """The file's text.

    Args:
        spec: what the job gets.
        name: of the recipe.
        words: of the command after `compactor`, without --runs.
    """
    return JOB_FILES[spec.kind](spec, name, words)


def _slurm(spec: JobSpec, name: str, words: list[str]) -> str:
    asked = [
        f"--job-name={name}",
        f"--nodes={spec.nodes}",
        "--ntasks-per-node=1",
        f"--cpus-per-task={spec.cpus}",
        f"--mem={spec.memory_gb}G",
        f"--time={spec.time}",
        *([f"--partition={spec.partition}"] if spec.partition else []),
        *([f"--gpus-per-node={spec.gpus}"] if spec.gpus else []),
        "--requeue",
        f"--signal=B:TERM@{WARN_S}",
        f"--output={name}-%j.log",
        "--open-mode=append",
    ]
    torchrun = (
        f"torchrun --nnodes=$SLURM_NNODES --nproc-per-node={max(spec.gpus, 1)} --rdzv-backend=c10d "
        "--rdzv-id=$SLURM_JOB_ID --rdzv-endpoint=$head:29500"
    )
    lines = [
        "#!/bin/bash",
        *(f"#SBATCH {one}" for one in asked),
        "set -u",
        'head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)',
        "# near the time limit the step at hand ends, a checkpoint is written, and the job is queued again",
        "trap 'kill -TERM $job; wait $job; scontrol requeue $SLURM_JOB_ID' TERM",
        f"srun {torchrun} -m compactor {shlex.join(words)} &",
        "job=$!",
        "wait $job",
    ]
    return "\n".join(lines) + "\n"


def _rayjob(spec: JobSpec, name: str, words: list[str]) -> str:
    threads = f"ray:auto,workers={spec.nodes},threads={spec.cpus}" + (
        f",gpus={spec.gpus}" if spec.gpus else ""
    )
    command = shlex.join(["compactor", *words, "--runs", RUNS, "--on", threads])
    head = _pod(spec, "ray-head", gpus=0)
    body = {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": _label(name)},
        "spec": {
            "entrypoint": command,
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": 600,
            "backoffLimit": 3,
            "rayClusterSpec": {
                "headGroupSpec": {"rayStartParams": {"num-cpus": "0"}, "template": {"spec": head}},
                "workerGroupSpecs": [
                    {
                        "groupName": "workers",
                        "replicas": spec.nodes,
                        "minReplicas": spec.nodes,
                        "maxReplicas": spec.nodes,
                        "rayStartParams": {},
                        "template": {"spec": _pod(spec, "ray-worker", gpus=spec.gpus)},
                    }
                ],
            },
        },
    }
    return yaml.safe_dump(body, sort_keys=False)


def _trainjob(spec: JobSpec, name: str, words: list[str]) -> str:
    mounted = {
        "volumes": [_volume(spec)],
        "containers": [{"name": "node", "volumeMounts": [_mount()]}],
    }
    node = {"name": "node", "template": {"spec": {"template": {"spec": mounted}}}}
    jobs = {"spec": {"replicatedJobs": [node]}}
    body = {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"name": _label(name)},
        "spec": {
            "runtimeRef": {
                "apiGroup": "trainer.kubeflow.org",
                "kind": "ClusterTrainingRuntime",
                "name": "torch-distributed",
            },
            "trainer": {
                "image": spec.image,
                "command": ["torchrun", "-m", "compactor"],
                "args": [*words, "--runs", RUNS],
                "numNodes": spec.nodes,
                "numProcPerNode": max(spec.gpus, 1),
                "resourcesPerNode": _resources(spec, spec.gpus),
            },
            "runtimePatches": [{"manager": MANAGER, "trainingRuntimeSpec": {"template": jobs}}],
        },
    }
    return yaml.safe_dump(body, sort_keys=False)


def _pod(spec: JobSpec, name: str, *, gpus: int) -> dict[str, Any]:
    container = {
        "name": name,
        "image": spec.image,
        "env": [{"name": "RAY_USAGE_STATS_ENABLED", "value": "0"}],
        "resources": _resources(spec, gpus),
        "volumeMounts": [_mount()],
    }
    return {"containers": [container], "volumes": [_volume(spec)]}


def _resources(spec: JobSpec, gpus: int) -> dict[str, Any]:
    asked = {"cpu": str(spec.cpus), "memory": f"{spec.memory_gb}Gi"} | (
        {"nvidia.com/gpu": str(gpus)} if gpus else {}
    )
    return {"requests": asked, "limits": dict(asked)}


def _volume(spec: JobSpec) -> dict[str, Any]:
    return {"name": "runs", "persistentVolumeClaim": {"claimName": spec.claim}}


def _mount() -> dict[str, Any]:
    return {"name": "runs", "mountPath": RUNS}


def _label(name: str) -> str:
    """A name as Kubernetes takes it: lower-case letters, digits and dashes, at most 47."""
    plain = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name.lower())
    return plain.strip("-")[:47].strip("-") or "compactor"


JOB_FILES: dict[str, Callable[[JobSpec, str, list[str]], str]] = {
    "slurm": _slurm,
    "rayjob": _rayjob,
    "trainjob": _trainjob,
}
