"""A recipe that trims its vocabulary and mixes further texts in, from the recipe to the saved student."""

import json
from pathlib import Path

import pytest

from compactor.cache.folder import STUDENT
from compactor.cache.journal import Journal
from compactor.models.build import load_model_folder
from compactor.progress import SilentReporter
from compactor.recipe.load import LoadedRecipe, parse_recipe
from compactor.run import stages
from compactor.run.data import DataSets
from compactor.run.plan import make_plan
from compactor.samplers.mix import Mixed
from compactor.samplers.shuffle import Shuffle
from tests.compactor.data.test_extra_texts import write_jsonl
from tests.compactor.text_toys import bert_folder, write_wordpiece


def test_distilling_on_mixed_texts_with_a_trimmed_vocabulary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPACTOR_CACHE", str(tmp_path / "cache"))
    folder = bert_folder(tmp_path / "bert", num_labels=2, pad_token_id=4)
    write_wordpiece(folder, ["zzz", "zz", "z", "##z"], ["za", "a", "##a"])
    write_jsonl(tmp_path / "own.jsonl", ["zz a", "a za"] * 10, label=[0, 1] * 10)
    write_jsonl(tmp_path / "more.jsonl", ["zz", "zz zz"] * 3)
    data = {"dataset": "own.jsonl", "classes": ["LABEL_0", "LABEL_1"], "max_tokens": 12}
    data["vocabulary"] = {"texts": ["own.jsonl"]}
    mixed = data | {"also": [{"dataset": "more.jsonl", "share": 0.5}]}
    teacher = {"model": "hf:bert", "weights": "pretrained"}
    length = {"epochs": 1, "batch_size": 8}
    recipe = parse_recipe(
        {
            "name": "toy",
            "task": "text-classification",
            "data": mixed,
            "student": {"model": "hf:bert", "options": {"num_hidden_layers": 1}},
            "teachers": [teacher],
            "stages": [
                {"id": "distil", "method": "kd", **length},
                {"id": "tune", "method": "supervised", "init": "stage:distil", "data": data, **length},
            ],
        }
    )
    loaded = LoadedRecipe(recipe, tmp_path, "toy")
    opened = DataSets(loaded, SilentReporter())
    plan = make_plan(loaded, tmp_path / "runs", data=opened)
    seen: list[object] = []
    fit = stages.fit

    def watched(student, preset, *arguments, **named):
        seen.append(preset.sampler)
        return fit(student, preset, *arguments, **named)

    monkeypatch.setattr(stages, "fit", watched)
    runner = stages.StageRunner(plan, SilentReporter(), Journal(None))
    last = [runner.run(stage) for stage in plan.stages][-1]
    # 20 rows: 4 report and 2 select (10% of 16), 14 to train on; 6 more
    assert [type(one) for one in seen] == [Mixed, Shuffle]
    assert seen[0].parts == ((14, 0.5), (6, 0.5))
    student = load_model_folder(last / STUDENT)
    # kept: zz z ##z, 4 special, za a ##a; only zzz of 11 is gone, and all ids that no piece has
    assert student.vocab_size == 10
    assert student.backbone.model.get_input_embeddings().weight.shape == (10, 16)
    assert student.text.pad_id == student.backbone.model.config.pad_token_id == 3
    (kept,) = (tmp_path / "cache" / "tokenizers").glob("*/kept.json")
    assert json.loads(kept.read_text()) == list(range(1, 11))
