"""One measurement of the encoder suite, in a process of its own: prints one JSON line."""

import json
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

BATCH, STEPS, WARMUP = 32, 60, 10


def latency(subject: str) -> dict[str, Any]:
    """Single texts of select through an exported graph, or through torch: seconds of each call."""
    from benchmarks.arms import CACHE

    folder = CACHE / "encoder" / "exported"
    ids = json.loads((folder / "texts.json").read_text(encoding="utf-8"))
    feeds = [np.array(one, np.int64) for one in ids]
    arrays = [{"input_ids": one, "attention_mask": np.ones_like(one)} for one in feeds]
    if subject.endswith("_torch"):
        import torch

        from compactor.models.build import load_model_folder

        model = load_model_folder(folder / subject.removesuffix("_torch") / "model")
        tensors = [{name: torch.from_numpy(value) for name, value in one.items()} for one in arrays]
        with torch.inference_mode():
            return {"call_s": _times(lambda x: model(**x), tensors)}
    from compactor_runtimes.backends import open_runtime

    return {"call_s": _times(open_runtime("ort-cpu", folder / subject / "fp32.onnx").run, arrays)}


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

    from benchmarks.foundation_worker import step_starts
    from compactor.methods.supervised import Options, build
    from compactor.models.build import build_model
    from compactor.progress import SilentReporter
    from compactor.recipe.load import load_recipe
    from compactor.run.data import DataSets
    from compactor.tasks.texts import INTENT_SLOTS
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
        starts = step_starts(preset)
        with tempfile.TemporaryDirectory() as folder:
            fit(
                student,
                preset,
                lambda rank, world: INTENT_SLOTS.loader(data.train, stage, seed=0, rank=rank, world=world),
                training=stage,
                name=stage.id,
                seed=0,
                folder=Path(folder),
            )
        return {"step_s": np.diff(starts)[WARMUP:].tolist()}
    keep_freed_memory()
    loader = INTENT_SLOTS.loader(data.train, stage, seed=0, rank=0, world=1)
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((0, 0))))
    batches = [
        batch for _, batch in zip(range(STEPS), loader.epoch(0, rng.permutation(len(loader))), strict=False)
    ]
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-3, weight_decay=0.01, fused=True)
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


def padding(dataset: str) -> dict[str, Any]:
    """Share of padding with batches by length and without, and texts tokenised in a second on all threads."""
    from compactor.data.text_loader import by_length
    from compactor.progress import SilentReporter
    from compactor.recipe.load import load_recipe
    from compactor.run.data import DataSets
    from compactor_runtimes.bundle.manifest import TextPre
    from compactor_runtimes.predict.text import TextPipeline

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
    print(json.dumps({"latency": latency, "step": step, "padding": padding}[part](subject)))
