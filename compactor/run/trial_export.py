"""The process in which `traced.py` tries to export a student: on its stdout one line, [verdict, why, note].

Weights are random: what is found is a matter of the graph. It is run on two sizes of batch, for a graph may
be valid and yet hold the example's size; how exact it is only trained weights tell.
"""

import json
import os
import sys
import warnings
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import msgspec

from compactor.models.build import build_model
from compactor.models.student import Student
from compactor.recipe.spec import ModelSpec
from compactor.records import DataInfo, ImageInfo, TextInfo
from compactor.release.artifacts import export_source
from compactor_exporters import ExportSource, Workspace, export_artifact
from compactor_exporters.source import forward
from compactor_runtimes.backends import open_runtime
from compactor_runtimes.bundle.manifest import ExportSpec
from compactor_runtimes.errors import CompactorError, NumericGateError, UnfitEnvironmentError

if TYPE_CHECKING:
    import torch

BATCHES = (1, 3)  # the example, by which it is traced, has two


def main(asked: Path) -> None:
    """Try what the request asks for, and answer."""
    answer = os.dup(1)
    os.dup2(2, 1)  # what anything prints is no answer
    warnings.simplefilter("ignore")
    with os.fdopen(answer, "w", encoding="utf-8") as file:
        json.dump(verdict_of(json.loads(asked.read_bytes())), file)


def verdict_of(asked: dict[str, Any]) -> tuple[str, str, str]:
    """Whether it can be exported, why not, and what building it found."""
    try:
        student = _built(asked)
        _try(student)
    except UnfitEnvironmentError as error:
        return "not known", str(error), ""
    except MemoryError:
        return "not known", "there is too little memory to try it", ""
    except CompactorError as error:
        return "cannot", str(error), ""
    except Exception as error:  # of the model's own code, or of what reads it
        first_line = str(error).strip().partition("\n")[0]
        return "cannot", f"the trial raised {type(error).__name__}: {first_line}", ""
    return "can", "", student.size_note


def _built(asked: dict[str, Any]) -> Student:
    image, text = asked["image"], asked["text"]
    info = DataInfo(
        asked["task"],
        asked["classes"],
        None if image is None else ImageInfo(**image),
        None if text is None else TextInfo(Path(text["tokenizer"]), text["pad_id"], text["max_tokens"]),
    )
    spec = msgspec.convert(asked["model"], ModelSpec)
    return build_model(spec, info, base=Path(asked["base"]), trains=True).eval()


def _try(student: Student) -> None:
    """Export it, and run the graph.

    Raises:
        CompactorError: it cannot be exported, or the graph does not run on what its ports allow.
    """
    source = export_source(student, "the student", student.info.task)
    with TemporaryDirectory(prefix="trial-") as folder:
        artifact = export_artifact(source, ExportSpec(), Workspace(Path(folder)))
        with closing(open_runtime("ort-cpu", Path(folder) / artifact.files[0].path)) as runtime:
            for size in BATCHES:
                _run(runtime, source, student.example(size))


def _run(runtime: Any, source: ExportSource, example: "dict[str, torch.Tensor]") -> None:
    feeds = {name: values.numpy() for name, values in example.items()}
    expected = {name: values.shape for name, values in forward(source, feeds).items()}
    found = {name: values.shape for name, values in runtime.run(feeds).items()}
    if found != expected:
        raise NumericGateError(
            f"graph of {source.name!r}: gives {found} for {len(next(iter(feeds.values())))} samples, the "
            f"module gives {expected}; do not use Python numbers taken from shapes in its forward"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
