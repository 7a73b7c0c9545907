"""The peer of distillation on images: torchdistill's own DistillationBox and losses, run as they are.

It lives in an environment of its own (`make torchdistill`, or COMPACTOR_TORCHDISTILL_PYTHON).
`distilled` writes the images and starts this file there; the file reads a folder and prints one JSON line:
`step_s` seconds of each optimiser step with its data, `right` which report images are answered rightly (a
string of 0 and 1), `top1` their share.

Student and teacher are our classes with our weights, normalised in torchvision's transforms, as its users do.
torchdistill 1.1.5 has Hinton's loss and DIST; it has no DKD, no weighted soft labels and no spherical KD.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    Images = np.ndarray[Any, np.dtype[np.uint8]]
    Labels = np.ndarray[Any, np.dtype[np.int64]]

ROOT = Path(__file__).parents[2]
PYTHON = "COMPACTOR_TORCHDISTILL_PYTHON"
SETTINGS, DATA = "settings.json", "data.npz"
# what a run may say otherwise: the recipe cifar10-kd's
DEFAULTS: dict[str, Any] = {
    "loss": "kd",
    "temperature": 4.0,
    "soft_weight": 0.9,
    "beta": 1.0,
    "gamma": 1.0,
    "teacher_blocks": 9,
    "student_blocks": 1,
    "lr": 0.1,
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 5e-4,
    "batch": 128,
    "steps": 1,
    "seed": 0,
    "workers": 0,
    "threads": None,
}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LOGITS = {
    "student_module_path": ".",
    "student_module_io": "output",
    "teacher_module_path": ".",
    "teacher_module_io": "output",
}


def torchdistill_python() -> Path:
    """The Python of torchdistill's environment."""
    found = Path(os.environ.get(PYTHON, ROOT / ".venv-torchdistill" / "bin" / "python"))
    if not found.is_file():
        sys.exit(f"{found}: no such file; run `make torchdistill` once, or set {PYTHON}")
    return found


def distilled(
    train: "tuple[Images, Labels]", report: "tuple[Images, Labels]", *, teacher: Path, **settings: Any
) -> dict[str, Any]:
    """Train a student there; images are uint8 [N, 32, 32, 3], `settings` replace DEFAULTS.

    Raises:
        RuntimeError: the process failed; the message ends with what it said.
    """
    import numpy as np

    assert set(settings) <= set(DEFAULTS)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / SETTINGS).write_text(json.dumps({**DEFAULTS, **settings, "teacher": str(teacher)}))
        np.savez(folder / DATA, x=train[0], y=train[1], report_x=report[0], report_y=report[1])
        places = os.pathsep.join(str(ROOT / one) for one in ("", "exporters", "runtimes"))
        done = subprocess.run(
            [str(torchdistill_python()), __file__, scratch],
            env={**os.environ, "PYTHONPATH": places},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"torchdistill: {done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    """Train what the folder asks for, in torchdistill's environment."""
    import numpy as np
    import torch
    from safetensors.torch import load_file

    folder = Path(sys.argv[1])
    asked = json.loads((folder / SETTINGS).read_text())
    data = np.load(folder / DATA)
    if asked["threads"]:
        torch.set_num_threads(asked["threads"])
    torch.manual_seed(asked["seed"])
    teacher = _resnet(asked["teacher_blocks"])
    teacher.load_state_dict(load_file(asked["teacher"]))
    student = _resnet(asked["student_blocks"])
    seconds = _trained(teacher.eval(), student, data["x"], data["y"], asked)
    right = _right(student, data["report_x"], data["report_y"])
    top1 = right.count("1") / max(len(right), 1)
    sys.stdout.write(json.dumps({"step_s": seconds, "right": right, "top1": top1}) + "\n")


def _trained(
    teacher: "nn.Module", student: "nn.Module", images: "Images", labels: "Labels", asked: dict[str, Any]
) -> list[float]:
    """Seconds of each step of the box's own loop: data, both forwards, backward, update, schedule."""
    import torch
    from torch.utils.data import RandomSampler
    from torchdistill.core.distillation import get_distillation_box

    steps = asked["steps"]
    config = {
        "num_epochs": -(-steps * asked["batch"] // len(images)),
        "train_data_loader": {
            "dataset_id": "train",
            "sampler": {"class_or_func": RandomSampler},
            "kwargs": {"batch_size": asked["batch"], "num_workers": asked["workers"]},
        },
        "teacher": {"forward_proc": "forward_batch_only", "requires_grad": False},
        "student": {"forward_proc": "forward_batch_only"},
        "criterion": _criterion(asked),
        "optimizer": {
            "key": "SGD",
            "kwargs": {key: asked[key] for key in ("lr", "momentum", "nesterov", "weight_decay")},
        },
        "scheduler": {"key": "CosineAnnealingLR", "kwargs": {"T_max": steps}, "scheduling_step": 1},
    }
    box = get_distillation_box(
        teacher,
        student,
        {"train": _Views(images, labels)},
        config,
        torch.device("cpu"),
        None,
        distributed=False,
        lr_factor=1,
    )
    seconds: list[float] = []
    started = perf_counter()
    for batch, targets, extra in _endless(box):
        box.post_forward_process(loss=box.forward_process(batch, targets, extra))
        now = perf_counter()
        seconds.append(now - started)
        started = now
        if len(seconds) == steps:
            return seconds
    raise AssertionError("the loader is endless")


def _endless(box: Any) -> Iterator[Any]:
    """Batches of one epoch after the other, with the box's own work before and after each."""
    epoch = 0
    while True:
        box.pre_epoch_process(epoch=epoch)
        yield from box.train_data_loader
        box.post_epoch_process()
        epoch += 1


def _criterion(asked: dict[str, Any]) -> dict[str, Any]:
    """The whole loss in torchdistill's words; soft_weight is the share of the soft part, as in ours.

    Raises:
        ValueError: a loss that is not here.
    """
    hard, soft = 1 - asked["soft_weight"], asked["soft_weight"]
    if asked["loss"] == "kd":
        one = {"key": "KDLoss", "kwargs": {**LOGITS, "temperature": asked["temperature"], "alpha": hard}}
        return {"key": "WeightedSumLoss", "kwargs": {"sub_terms": {"kd": {"criterion": one, "weight": 1.0}}}}
    if asked["loss"] != "dist":
        raise ValueError(f"loss {asked['loss']!r}: torchdistill has kd and dist")
    weights = {"beta": asked["beta"], "gamma": asked["gamma"], "tau": asked["temperature"]}
    dist = {"key": "DISTLoss", "kwargs": {**LOGITS, **weights}}
    labelled = {
        "key": "SimpleLossWrapper",
        "kwargs": {
            "input": {"is_from_teacher": False, "module_path": ".", "io": "output"},
            "target": {"uses_label": True},
        },
    }
    ce = {"key": "CrossEntropyLoss", "kwargs": {"reduction": "mean"}}
    terms = {
        "dist": {"criterion": dist, "weight": soft},
        "ce": {"criterion": ce, "criterion_wrapper": labelled, "weight": hard},
    }
    return {"key": "WeightedSumLoss", "kwargs": {"sub_terms": terms}}


class _Views:
    """Images as PIL through torchvision's transforms, as most scripts have them: crop, flip, normalise."""

    def __init__(self, images: "Images", labels: "Labels") -> None:
        from torchvision import transforms

        self.images, self.labels = images, labels
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __getitem__(self, index: int) -> tuple[Any, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])

    def __len__(self) -> int:
        return len(self.images)


def _resnet(blocks: int) -> "nn.Module":
    from compactor.models.cifar import CifarResNet

    return CifarResNet(blocks, 10, 3, 16)


def _right(student: "nn.Module", images: "Images", labels: "Labels") -> str:
    """Which images the student answers rightly, in evaluation."""
    import torch

    mean, std = (torch.tensor(one).view(1, 3, 1, 1) for one in (MEAN, STD))
    found = []
    student.eval()
    with torch.no_grad():
        for start in range(0, len(images), 500):
            pixels = torch.from_numpy(images[start : start + 500]).permute(0, 3, 1, 2).float() / 255
            truth = torch.from_numpy(labels[start : start + 500])
            found += (student((pixels - mean) / std).argmax(-1) == truth).tolist()
    return "".join("1" if one else "0" for one in found)


if __name__ == "__main__":
    main()
