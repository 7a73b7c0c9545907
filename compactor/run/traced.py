"""Find out before training whether the student can be exported: it is tried once, with random weights.

1. It is tried in a process of its own, which ends after `LIMIT_S`; a trial without an end tells nothing.
2. What was found to work is kept in the cache folder, under a key of all that decides it: the model's entry
   without its weights, classes and sizes of its data, the code that builds and exports it, versions. What
   does not work is tried again each time.
3. Only a student that is trained, and exported afterwards, is tried; not in a smoke run, which gets there as
   soon.
"""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Literal

import msgspec

from compactor.cache.code import code_digest
from compactor.cache.digest import SHIPPING_TOOLS, digest_of, file_digest, tool_versions
from compactor.models import WRAPPERS
from compactor.models.references import model_digest, model_sources
from compactor.progress import Reporter
from compactor.recipe.spec import ModelSpec
from compactor.records import DataInfo
from compactor.run.planned import Plan
from compactor.tasks import TASKS
from compactor_exporters import can_export
from compactor_runtimes.bundle.manifest import ExportSpec
from compactor_runtimes.errors import UnfitEnvironmentError, UsageError, needs_extra
from compactor_runtimes.files import write_whole

LIMIT_S = 120.0
TRIAL = "compactor.run.trial_export"
EXPORTER = "compactor_exporters.onnx_fp32"
TOOLS = (*SHIPPING_TOOLS, "onnx-ir", "onnxslim")
LAST_WORDS = 300  # of a process that died without a sentence

Verdict = Literal["can", "cannot", "not known", "not checked"]


@dataclass(frozen=True)
class Traced:
    """Whether a student can be exported, and why not or why that is not known; `seconds` of a trial.

    `note` is what building it found that is to be said, as that it resizes its images.
    """

    verdict: Verdict
    why: str = ""
    seconds: float | None = None
    note: str = ""

    def said_of(self, model: str) -> str:
        """A sentence for people."""
        if self.verdict == "can":
            how = "found before" if self.seconds is None else f"tried in {self.seconds:.1f} s"
            noted = f"; {self.note}" if self.note else ""
            return f"student {model}: can be exported ({how}){noted}"
        return f"student {model}: whether it can be exported is {self.verdict}: {self.why}"


def require_exportable(plan: Plan, reporter: Reporter) -> Traced | None:
    """Stop a plan whose student will be trained and cannot be exported then.

    Returns:
        What is known; None where nothing is tried (rule 3).

    Raises:
        UsageError: it cannot be exported.
    """
    trains = any(stage.action != "reuse" for stage in plan.stages)
    if not (trains and plan.exports) or plan.blocked or plan.loaded.at_most:
        return None
    last = plan.stages[-1]
    with reporter.bar("try to export the student", 1) as bar:
        found = trace(last.student, last.data.info, base=plan.loaded.base)
        bar.at(1)
    if found.verdict == "cannot":
        raise UsageError(
            f"student {last.student.model}: cannot be exported, so nothing was trained: {found.why}; or name "
            "another student, or give --no-trace to train it all the same"
        )
    return found


def try_export(plan: Plan, reporter: Reporter) -> None:
    """The same for a run, which says where it is not known.

    Raises:
        UsageError: the student cannot be exported.
    """
    found = require_exportable(plan, reporter)
    if found is not None and found.verdict != "can":
        reporter.note(found.said_of(plan.stages[-1].student.model))


def trace(
    spec: ModelSpec, info: DataInfo, *, base: Path, cache: Path | None = None, limit_s: float = LIMIT_S
) -> Traced:
    """Try to export a model of random weights to fp32 ONNX, or remember that it could be.

    Args:
        spec: the model's entry; weights that it names are not read.
        info: what it is trained on.
        base: folder that relative paths resolve against first.
        cache: the cache folder; absent = the usual one.
        limit_s: when a trial is given up.
    """
    if (problem := can_export(ExportSpec())) is not None:
        return Traced("not checked", problem)
    with needs_extra("train"):
        from compactor.data.cache import cache_root
    spec = msgspec.structs.replace(spec, weights=None)
    known = cache_root(cache) / "traces" / f"{_key(spec, info, base)}.json"
    if known.is_file():
        return Traced("can", note=str(json.loads(known.read_bytes()).get("note", "")))
    started_s = perf_counter()
    found = _tried(spec, info, base, limit_s)
    if found.verdict == "can":
        record = {"model": msgspec.to_builtins(spec), "versions": tool_versions(TOOLS), "note": found.note}
        _keep(known, json.dumps(record, indent=1).encode())
    return Traced(found.verdict, found.why, round(perf_counter() - started_s, 3), found.note)


def _key(spec: ModelSpec, info: DataInfo, base: Path) -> str:
    """Rule 2."""
    text = info.text
    code = [*model_sources(spec), WRAPPERS[info.task], TASKS[info.task], EXPORTER, TRIAL]
    return digest_of(
        {
            "model": model_digest(spec, base),
            "task": info.task,
            "classes": {head: len(labels) for head, labels in info.classes.items()},
            "image": msgspec.to_builtins(info.image),
            "text": None if text is None else [file_digest(text.tokenizer), text.pad_id, text.max_tokens],
            "code": code_digest(code),
            "versions": tool_versions(TOOLS),
        }
    )


def _keep(path: Path, content: bytes) -> None:
    """Write what was found; a cache that cannot be written only costs another trial."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except (OSError, UnfitEnvironmentError):
        return


def _tried(spec: ModelSpec, info: DataInfo, base: Path, limit_s: float) -> Traced:
    """Rule 1."""
    with TemporaryDirectory(prefix="trial-") as folder:
        asked = Path(folder) / "asked.json"
        request = {
            "model": spec,
            "base": str(base.absolute()),
            "task": info.task,
            "classes": info.classes,
            "image": info.image,
            "text": info.text,
        }
        write_whole(asked, msgspec.json.encode(request, enc_hook=str))  # paths
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", TRIAL, str(asked)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(one or os.getcwd() for one in sys.path)},
            start_new_session=True,
        )
        try:
            said, last = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            return Traced("not known", f"the trial was not done after {limit_s:g} s and was given up")
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
    try:
        verdict, why, note = json.loads(said)
    except ValueError:
        words = last.decode("utf-8", "replace").strip().rpartition("\n")[2][-LAST_WORDS:] or "nothing"
        ended = f"the trial ended with status {process.returncode}, its last words: {words}"
        return Traced("not known", ended)
    return Traced(verdict, why, note=note)
