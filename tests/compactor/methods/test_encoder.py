"""Encoder compression: one hop's losses, teachers asked once, chains of stages across tasks."""

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from compactor.cache.folder import DONE
from compactor.cache.journal import Journal
from compactor.evaluation import gold_labels, headline, of_words, select_figures, word_labels
from compactor.methods import supervised
from compactor.methods.encoder import Options, build
from compactor.models.build import build_model, load_model_folder
from compactor.progress import SilentReporter
from compactor.recipe.load import LoadedRecipe, load_recipe, parse_recipe
from compactor.recipe.spec import ModelSpec
from compactor.records import FIRST, Batch, Outputs, Step
from compactor.run.data import DataSets
from compactor.run.plan import make_plan
from compactor.run.stages import StageRunner
from compactor.tasks import task_named
from compactor.teachers import RememberedTeachers, Teachers
from compactor.trainer.fit import accelerator_for
from compactor.trainer.stepper import Stepper
from compactor_runtimes.errors import InterruptedRun, UsageError
from tests import toys
from tests.compactor.tasks.test_tasks import requests

STEP = Step(0, 10, 0, 1)


def terms_of(preset, student, teacher, batch):
    target = preset.target.make(batch, teacher, STEP)
    return {
        name: (term, weight)
        for objective, weight in preset.objectives
        for name, term in objective(student, teacher, target, batch, STEP).items()
    }


def taught(logits):
    return Outputs(logits, {head: value.log_softmax(-1) for head, value in logits.items()})


def test_the_default_is_the_sum_of_both_cross_entropies():
    z_s, z_t = torch.tensor([[1, 2, 0.5, -1.0]]), torch.tensor([[2, 0, 1, -0.5]])
    batch = Batch(x={}, y={"mlm": torch.tensor([1])}, id=torch.tensor([0]))
    found = terms_of(build(Options()), Outputs({"mlm": z_s}), taught({"mlm": z_t}), batch)
    assert set(found) == {"hard_ce", "soft_ce"}
    assert found["soft_ce"][0].loss.item() == pytest.approx(1.6293990631, abs=1e-6)
    assert found["hard_ce"][0].loss.item() == pytest.approx(-z_s.log_softmax(-1)[0, 1].item())
    assert [weight for _, weight in found.values()] == [1, 1]


def test_every_divergence_is_scaled_by_the_squared_temperature():
    z_s, z_t = torch.tensor([[1, 2, 0.5, -1.0]]), torch.tensor([[2, 0, 1, -0.5]])
    batch = Batch(x={}, y={"mlm": torch.tensor([1])}, id=torch.tensor([0]))
    for name in ("soft_ce", "kl"):
        preset = build(Options(divergence=name, temperature=2.0, hard_weight=0))
        [(term, weight)] = terms_of(preset, Outputs({"mlm": z_s}), taught({"mlm": z_t}), batch).values()
        log_p, log_q = (z / 2 for z in (z_s, z_t))
        log_p, log_q = log_p.log_softmax(-1), log_q.log_softmax(-1)
        minus = log_q if name == "kl" else 0
        assert (weight * term.loss).item() == pytest.approx(4 * (log_q.exp() * (minus - log_p)).sum().item())


def test_words_count_at_their_first_tokens():
    logits = {"slot": torch.randn(1, 3, 2)}
    mask = torch.tensor([[False, True, False]])
    y = {"slot": torch.tensor([[-100, 1, -100]])}
    batch = Batch(x={}, y=y, id=torch.tensor([0]), mask=mask)
    found = terms_of(build(Options()), Outputs(logits), taught(logits), batch)
    assert found["soft_ce"][0].valid is mask
    assert found["hard_ce"][0].valid.tolist() == mask.tolist()


def test_nothing_to_learn_from_the_teacher_is_refused():
    with pytest.raises(ValueError, match="nothing is learned from the teacher"):
        Options(soft_weight=0)


def test_of_words_takes_first_tokens():
    values = np.arange(12, dtype=np.float32).reshape(1, 4, 3)
    batch = Batch(x={}, y={}, id=torch.tensor([0]), aux={FIRST: torch.tensor([[1, 3, -1]])})
    assert of_words(values, batch).tolist() == [[[3, 4, 5], [9, 10, 11], [0, 0, 0]]]


def test_labels_of_words_by_name(tmp_path: Path):
    task, data = opened(tmp_path)
    split = replace(data.select, rows=data.select.rows[:4])
    gold = gold_labels(task, split)
    assert [len(row) for row in gold] == [len(text.split()) for text in split.inputs[split.rows]]
    width = split.labels["slot"].shape[1]
    said = {"slot": np.zeros((4, width, 3), np.float32), "intent": np.zeros((4, 3), np.float32)}
    said["slot"][:, :, 2] = 1
    assert {name for row in word_labels(task, split, said) for name in row} == {split.word_names[2]}
    assert headline(task, split, said) is said["intent"]
    words = task_named("token-classification")
    assert headline(words, split, said).shape == (sum(map(len, gold)), 3)


def opened(tmp_path: Path, name: str = "intent-slots"):
    task = task_named(name)
    return task, task.open(requests(tmp_path), base=tmp_path)


def test_teachers_that_are_asked_once_say_the_same(tmp_path: Path):
    task, data = opened(tmp_path)
    models = [build_model(ModelSpec(model="encoder:1x32"), data.info, base=tmp_path, seed=s) for s in (0, 1)]
    for chosen in (models[:1], models):
        live = Teachers(chosen)
        once = RememberedTeachers(live, task.each_once(data.train))
        batch = task.batch(data.train, data.train.rows[[5, 0, 9]], None)
        ours, theirs = once(batch), live(batch)
        assert ours.log_probs is not None
        for head in ("intent", "slot"):
            real = batch.x["attention_mask"].bool() if head == "slot" else slice(None)
            torch.testing.assert_close(ours.log_probs[head][real], theirs.log_probs[head][real])
            torch.testing.assert_close(ours.logits[head][real], theirs.logits[head][real])


def test_texts_that_are_read_once_come_by_length(tmp_path: Path):
    task, data = opened(tmp_path)
    batches = list(task.each_once(data.train))
    lengths = torch.cat([batch.x["attention_mask"].sum(1) for batch in batches]).tolist()
    assert lengths == sorted(lengths)
    assert len(set(lengths)) > 1
    assert sorted(torch.cat([batch.id for batch in batches]).tolist()) == data.train.rows.tolist()


def recipe(tmp_path: Path, **changes):
    spec = msgspec.to_builtins(requests(tmp_path))
    every = {"optimizer": "adamw", "lr": 1e-3, "batch_size": 8}
    small, big = {"model": "encoder:1x32"}, {"model": "encoder:2x32"}
    raw = {
        "name": "chain",
        "task": "intent-slots",
        "data": spec,
        "student": small,
        "stages": [
            {"id": "t1", "task": "masked-lm", "method": "supervised", "student": big, "steps": 3, **every},
            {
                "id": "hop",
                "task": "masked-lm",
                "method": "encoder",
                "teachers": ["stage:t1"],
                "steps": 3,
                **every,
            },
            {"id": "fine", "method": "supervised", "student": big, "init": "stage:t1", "steps": 3, **every},
            {
                "id": "distil",
                "method": "encoder",
                "teachers": ["stage:fine"],
                "init": "stage:hop",
                "steps": 8,
                "options": {"hidden_weight": 0.1, "head_weights": {"slot": 2}},
                **every,
            },
        ],
    }
    raw |= changes
    return raw


def runner(tmp_path: Path, raw) -> StageRunner:
    loaded = LoadedRecipe(parse_recipe(raw), tmp_path, "chain")
    data = DataSets(loaded, SilentReporter())
    plan = make_plan(loaded, tmp_path / "runs", data=data)
    return StageRunner(plan, SilentReporter(), Journal(None))


def test_a_chain_of_hops_across_tasks(tmp_path: Path):
    chain = runner(tmp_path, recipe(tmp_path))
    for stage in chain.plan.stages:
        chain.run(stage)
    hop, distil = (load_model_folder(chain.done[name]) for name in ("hop", "distil"))
    assert hop.info.task == "masked-lm"
    assert distil.info.task == "intent-slots"
    assert {key.split(".")[0] for key in distil.backbone.state_dict()} == {"encoder", "heads"}
    history = json.loads((chain.done["distil"].parent / DONE).read_text())["history"]
    assert {"hard_ce.intent", "hard_ce.slot", "soft_ce.intent", "soft_ce.slot", "hidden"} == set(
        history[-1]["terms"]
    )
    assert {"select_accuracy", "select_slot_f1", "select_exact_match"} <= set(history[-1])
    hops = json.loads((chain.done["hop"].parent / DONE).read_text())["history"]
    assert {"select_loss", "select_accuracy"} <= set(hops[-1])


def test_a_stage_of_another_task_starts_from_the_encoder_alone(tmp_path: Path):
    raw = recipe(tmp_path)
    raw["stages"] = raw["stages"][:3]
    raw["student"] = {"model": "encoder:2x32"}
    raw["stages"][2] |= {"lr": 1e-12, "weight_decay": 0}
    chain = runner(tmp_path, raw)
    chain.run(chain.plan.stages[0])
    chain.run(chain.plan.stages[2])
    first, last = (load_model_folder(chain.done[name]).backbone for name in ("t1", "fine"))
    for key, value in first.encoder.state_dict().items():
        torch.testing.assert_close(last.encoder.state_dict()[key], value)


def test_the_select_loss_of_hidden_tokens(tmp_path: Path):
    task, data = opened(tmp_path, "masked-lm")
    model = build_model(ModelSpec(model="encoder:1x32"), data.info, base=tmp_path)
    found = select_figures(task, data.select)(model)
    model.eval()
    losses = [
        F.cross_entropy(model(**b.x)["mlm"], b.y["mlm"], reduction="none") for b in task.batches(data.select)
    ]
    assert found["select_loss"] == pytest.approx(torch.cat(losses).mean().item(), rel=1e-5)


def stopped(tmp_path: Path, raw):
    chain = runner(tmp_path, raw)
    folder = chain.run(chain.plan.stages[0])
    return json.loads((folder / DONE).read_text())


def flat(tmp_path: Path, figure="loss", **changes):
    raw = recipe(tmp_path)
    stop = {"figure": figure, "patience": 2, "min_delta": 100.0}
    first = raw["stages"][0] | {"steps": None, "epochs": 9, "stop": stop} | changes
    return raw | {"stages": [first, *raw["stages"][1:]]}


def test_a_stage_ends_when_its_figure_is_flat(tmp_path: Path):
    done = stopped(tmp_path, flat(tmp_path))
    assert len(done["history"]) == 3  # the first, and two that are not better by 100 nats


def test_a_stopped_stage_goes_on_to_the_same_end(tmp_path: Path):
    whole = stopped(tmp_path, flat(tmp_path))
    chain = runner(tmp_path, flat(tmp_path) | {"name": "other"})
    chain.deadline_s = 0.0
    with pytest.raises(InterruptedRun):
        chain.run(chain.plan.stages[0])
    chain.deadline_s = None
    folder = chain.run(chain.plan.stages[0])
    again = json.loads((folder / DONE).read_text())
    assert again["steps"] == whole["steps"]
    assert again["history"] == whole["history"]


def test_an_unknown_figure_is_refused(tmp_path: Path):
    with pytest.raises(UsageError, match=r"'slot_f1' is not among the figures on select \(loss, accuracy\)"):
        stopped(tmp_path, flat(tmp_path, figure="slot_f1"))


def edited(tmp_path: Path, at: int, **changes):
    raw = recipe(tmp_path)
    raw["stages"][at] |= changes
    return raw


def test_contradictions_are_refused(tmp_path: Path):
    for raw, message in [
        (edited(tmp_path, 0, task="masked-ml"), "masked-lm"),
        (edited(tmp_path, 0, task="image-classification"), "different kinds of data"),
        (
            edited(tmp_path, 3, task="masked-lm", teachers=["stage:t1"]),
            "what the last stage trains is shipped",
        ),
        (
            edited(tmp_path, 3, teachers=["stage:t1"]),
            "was trained for masked-lm, the stage is for intent-slots",
        ),
        (edited(tmp_path, 3, masking={"rate": 0.3}), "has no effect on task intent-slots"),
        (edited(tmp_path, 0, masking={"keep": 0.6, "random": 0.6}), "more than 1"),
        (edited(tmp_path, 3, labels={}), "answers for every token"),
        (recipe(tmp_path, task="masked-lm"), "trains encoders and ships nothing"),
    ]:
        with pytest.raises(UsageError, match=message):
            parse_recipe(raw)


def test_a_head_that_is_not_there_gets_no_weight(tmp_path: Path):
    raw = edited(tmp_path, 0, options={"head_weights": {"slots": 2.0}})
    chain = runner(tmp_path, raw)
    with pytest.raises(UsageError, match="there is no head 'slots'"):
        chain.run(chain.plan.stages[0])


def test_stages_read_texts_as_the_recipe_does():
    recipe = load_recipe("hwu64-encoder").recipe
    for stage in recipe.stages:
        assert recipe.stage_data(stage).tokenizer == recipe.data.tokenizer
        assert recipe.stage_data(stage).vocabulary == recipe.data.vocabulary


def test_weights_of_heads_multiply_their_own_terms_alone(tmp_path: Path):
    task, data = opened(tmp_path)
    stage = toys.stage(method="supervised", steps=1, batch_size=8)
    batch = task.batch(data.train, data.train.rows[:8], None)

    def total(**weights: float) -> float:
        student = build_model(ModelSpec(model="encoder:1x32"), data.info, base=tmp_path).eval()
        preset = supervised.build(supervised.Options(head_weights=weights))
        stepper = Stepper(accelerator_for("fp32"), student, preset, None, stage, name="toy", seed=0)
        output = Outputs(logits=student(**batch.x))
        target = preset.target.make(batch, None, STEP)
        return sum(stepper.reduce(output, None, target, batch, STEP)).item()

    both, no_slot, no_intent = total(), total(slot=0.0), total(intent=0.0)
    assert both == pytest.approx(no_slot + no_intent, rel=1e-6)
    assert total(slot=3.0) == pytest.approx(no_slot + 3 * no_intent, rel=1e-6)
    assert min(no_slot, no_intent) > 0.1


def test_hidden_tokens_are_gathered_before_the_vocabulary(tmp_path: Path):
    task, data = opened(tmp_path, "masked-lm")
    model = build_model(ModelSpec(model="encoder:1x32"), data.info, base=tmp_path).eval()
    batch = next(task.batches(data.select))
    ids, positions = batch.x["input_ids"], batch.x["positions"]
    every = model(**(batch.x | {"positions": torch.arange(ids.numel())}))["mlm"]
    torch.testing.assert_close(model(**batch.x)["mlm"], every[positions])
    loss = F.cross_entropy(model(**batch.x)["mlm"], batch.y["mlm"])
    dense = torch.full((ids.numel(),), -100)
    dense[positions] = batch.y["mlm"]
    torch.testing.assert_close(loss, F.cross_entropy(every, dense, ignore_index=-100))


def test_what_is_hidden_depends_on_seed_epoch_and_step_alone(tmp_path: Path):
    task, data = opened(tmp_path, "masked-lm")

    def epoch(number: int, start: int = 0):
        stage = toys.stage(batch_size=8, task="masked-lm")
        loader = task.loader(data.train, stage, seed=3, rank=0, world=1)
        return [one.x["input_ids"] for one in loader.epoch(number, np.arange(len(loader)), start=start)]

    first, again, later, other = epoch(0), epoch(0), epoch(0, start=2), epoch(1)
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert all(torch.equal(one, two) for one, two in zip(first[2:], later, strict=True))
    assert not all(
        one.shape == two.shape and torch.equal(one, two) for one, two in zip(first, other, strict=False)
    )
    held = [[one.x["input_ids"] for one in task.batches(data.select)] for _ in range(2)]
    assert all(torch.equal(one, two) for one, two in zip(*held, strict=True))
