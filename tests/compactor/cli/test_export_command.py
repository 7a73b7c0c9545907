"""`compactor export`: models without data, what is refused, where bundles go, and the path with data."""

import gc
import json
import re
from pathlib import Path

import numpy as np
import pytest

from compactor.cli import cli
from compactor.progress import SilentReporter
from compactor.propose.models import Known, Named, read_model
from compactor.records import DataInfo, ImageInfo
from compactor.release import release as path_to_bundle
from compactor.release.export_model import check_place, export_model
from compactor.release.model_info import class_names, info_of
from compactor.release.sample_inputs import photo_crops, sentences
from compactor.release.variants import known_variants, parse_variants, with_overrides
from compactor_exporters import EXPORTERS
from compactor_runtimes import load
from compactor_runtimes.bundle.open import open_bundle
from compactor_runtimes.errors import AccuracyGateError, InterruptedRun, UsageError
from compactor_runtimes.golden.verify import verify_bundle
from tests.compactor.text_toys import WORDS, bert_folder, write_tokenizer

NAMES = {0: "calm", 1: "glad", 2: "sad"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`texts` and `images` (3 classes), `encoder`, `headless` (a classifier by its own word only)."""
    from transformers import ViTConfig, ViTForImageClassification

    root = tmp_path_factory.mktemp("models")
    swapped = {name: number for number, name in NAMES.items()}
    bert_folder(root / "texts", num_labels=3, id2label=NAMES, label2id=swapped)
    bert_folder(root / "encoder")
    bert_folder(root / "headless")
    config = root / "headless" / "config.json"
    written = json.loads(config.read_text()) | {"architectures": ["BertForSequenceClassification"]}
    config.write_text(json.dumps(written))
    for name in ("texts", "encoder", "headless"):
        write_tokenizer(root / name)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    vit = ViTConfig(image_size=24, patch_size=8, id2label=NAMES, label2id=swapped, **sizes)
    ViTForImageClassification(vit).save_pretrained(root / "images")
    return root


def run(*words: object) -> None:
    before = gc.get_threshold()
    cli.main(["export", *map(str, words)], standalone_mode=False)
    assert gc.get_threshold() == before


@pytest.mark.slow
def test_a_text_classifier_becomes_a_bundle_that_says_what_was_judged(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "made" / "bundle"
    run(f"hf:{models / 'texts'}", "--variants", "fp32,fp16", "-o", place, "--quiet")
    printed = capsys.readouterr().out
    manifest = open_bundle(place).manifest
    assert manifest.labels == {"label": ["calm", "glad", "sad"]}
    assert manifest.default_artifact == "fp32"
    assert manifest.metrics == {}
    assert manifest.provenance["samples"]["n"] == 64
    assert manifest.provenance["random_weights"] is False
    fp32, fp16 = manifest.main.artifacts
    assert fp32.status == "verified"
    assert {"min-agreement", "max-drop"} & {check.name for check in fp32.checks} == {"min-agreement"}
    # 64 of 64 prove 0.05 ** (1 / 64) = 95.43 %; ln 0.05 / ln 0.995 = 597.6 samples prove 99.5 %
    assert fp16.status == "rejected"
    assert "95.43%" in fp16.reason
    assert "needs 598 (give DATA" in fp16.reason
    assert fp16.reason in printed
    assert re.search(r"^export \d+\.\d s, verification \d+\.\d s over 8 shapes$", printed, re.MULTILINE)
    assert f"next:   compactor predict {place} 'SOME TEXT'" in printed
    assert list(place.parent.iterdir()) == [place]  # nothing of the work is left
    assert load(place).predict("turn on the light").label in NAMES.values()


@pytest.mark.slow
def test_an_image_classifier_takes_its_own_size_and_the_default_place(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run(f"hf:{models / 'images'}", "--json", "--quiet")
    told = json.loads(capsys.readouterr().out)
    assert told["bundle"] == "exports/images/bundle"
    assert (told["task"], told["samples"], told["default_artifact"]) == ("image-classification", 32, "fp32")
    [pixels] = open_bundle(tmp_path / told["bundle"]).manifest.main.inputs
    assert pixels.axes == ["batch", 3, 24, 24]


@pytest.mark.slow
def test_an_encoder_gives_vectors_and_a_classifier_does_when_asked(models: Path, tmp_path: Path) -> None:
    only = parse_variants("fp32")
    done = export_model(
        f"hf:{models / 'encoder'}", specs=only, bundle=tmp_path / "b", reporter=SilentReporter()
    )
    assert (done.task, done.artifacts[0].status) == ("embedding", "verified")
    told = done.to_json()
    assert told["shapes"] == 8  # batches of 1, 2, 7 and 64, short and long
    assert min(told["seconds"]["export"], told["seconds"]["verify"]) > 0
    classifier = read_model(f"hf:{models / 'texts'}", base=None, role="model")
    assert [info_of(classifier, task).task for task in (None, "embedding")] == [
        "text-classification",
        "embedding",
    ]


@pytest.mark.slow
def test_random_weights_are_judged_by_nothing_but_numbers(tmp_path: Path) -> None:
    done = export_model(
        "cifar:resnet8",
        specs=parse_variants("fp16,fp32"),
        bundle=tmp_path / "b",
        random_weights=True,
        reporter=SilentReporter(),
    )
    assert done.default == "fp16"  # the first in the order asked
    assert not {"min-agreement", "max-drop"} & {check.name for one in done.artifacts for check in one.checks}
    manifest = open_bundle(done.bundle).manifest
    assert manifest.provenance["random_weights"] is True
    assert manifest.provenance["judged"] == "numbers alone"
    verify_bundle(done.bundle).raise_for_gate()


@pytest.mark.slow
def test_an_override_ships_what_the_samples_cannot_decide(models: Path, tmp_path: Path) -> None:
    model, only = f"hf:{models / 'images'}", parse_variants("fp16")
    with pytest.raises(AccuracyGateError, match="give DATA"):
        export_model(model, specs=only, bundle=tmp_path / "b", reporter=SilentReporter())
    assert not (tmp_path / "b").exists()
    done = export_model(
        model, specs=only, reasons=["fp16=tried"], bundle=tmp_path / "b", reporter=SilentReporter()
    )
    assert done.artifacts[0].status == "overridden"
    assert done.artifacts[0].reason.startswith("tried (failed: min-agreement")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["what:resnet8"], "unknown model family 'what'"),
        (["cifar:resnet8"], "has no weights, which an export needs"),
        (["timm:resnet18"], "give @pretrained, @FILE.safetensors, or --random-weights"),
        (["cifar:resnet8@none.safetensors"], "none.safetensors was not found"),
        (["cifar:resnet8", "--random-weights", "--variants", "int9-static"], "did you mean 'int8-static'"),
        (["cifar:resnet8", "--random-weights", "--variants", "fp32,int8-static"], "int8-static: needs DATA"),
        (["cifar:resnet8", "--random-weights", "--task", "embedding"], "is for image-classification"),
        (["cifar:resnet8", "--random-weights", "--task", "imbedding"], "did you mean 'embedding'"),
        (["cifar:resnet8", "digits", "--random-weights"], "--random-weights: DATA has nothing to judge"),
        (["cifar:resnet8", "--set", "seed=1"], "--set: has no effect without DATA"),
        (["cifar:resnet8", "--text-column", "a"], "--text-column: has no effect without DATA"),
        (["module:tests.toys:Mlp", "--random-weights"], "give DATA, which says it"),
        (["hf:some/model"], "download it and give hf:FOLDER"),
        (["hf:{models}/texts@pretrained", "--random-weights"], "contradicts weights pretrained"),
        (["hf:{models}/headless"], "hold no .*classifier.* so these are random"),
        (["hf:{models}/encoder", "--task", "text-classification"], "is for embedding"),
        (["hf:{models}/texts", "--override", "fp16=why"], "'fp16' is not among the exported"),
        (["hf:{models}/texts", "{models}/two.csv"], "2 columns could be the text"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(
    words: list[str], said: str, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (models / "two.csv").write_text("a,b\none two,three\nfour,five six\n")
    with pytest.raises(UsageError, match=said):
        run(*(word.format(models=models) for word in words), "--quiet")
    assert not list(tmp_path.rglob("manifest.json"))


def test_weights_of_another_tokenizer_than_the_folders_are_refused(models: Path, tmp_path: Path) -> None:
    other = bert_folder(tmp_path / "other", num_labels=3, id2label=NAMES)
    write_tokenizer(other, [*reversed(WORDS)])
    with pytest.raises(
        UsageError, match=r"^model hf:.*: was trained with another tokenizer \(.*other/tokenizer"
    ):
        run(f"hf:{models / 'texts'}@{other / 'model.safetensors'}", "-o", tmp_path / "b", "--quiet")


def test_a_place_that_holds_something_else_is_left_alone(models: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for place in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(UsageError, match="exists and is no bundle"):
            run(f"hf:{models / 'images'}", "-o", place, "--quiet")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    (tmp_path / "empty").mkdir()
    check_place(tmp_path / "empty")
    check_place(tmp_path / "new")


@pytest.mark.slow
def test_a_bundle_is_replaced_at_the_very_end(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, place = f"hf:{models / 'images'}", tmp_path / "b"
    first = export_model(model, bundle=place, reporter=SilentReporter())
    (place / "mark").touch()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(path_to_bundle, "write_bundle", interrupt)
        with pytest.raises(InterruptedRun, match=r"is as it was; run it again$"):
            export_model(model, bundle=place, reporter=SilentReporter())
    assert (place / "mark").exists()
    assert list(tmp_path.iterdir()) == [place]
    assert export_model(model, bundle=place, reporter=SilentReporter()).bundle == first.bundle
    assert not (place / "mark").exists()
    assert list(tmp_path.iterdir()) == [place]


@pytest.mark.slow
def test_with_data_accuracy_is_judged_and_nothing_is_timed_where_that_is_not_wanted(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["turn on the light", "play music now", "what time is it"]
    rows = [f"{words[number % 3]},{NAMES[number % 3]}" for number in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(["said,mood", *rows]) + "\n")
    place = tmp_path / "b"
    run(
        f"hf:{models / 'texts'}",
        "--data",
        tmp_path / "t.csv",
        *("--text-column", "said", "--label-column", "mood", "--variants", "fp32,fused", "--no-measure"),
        *("--set", "data.max_tokens=16"),
        *("--override", "fused=a toy", "--runs", tmp_path / "runs", "-o", place, "--json", "--quiet"),
    )
    told = json.loads(capsys.readouterr().out)
    assert told["bundle"] == str(place)
    assert told["report"]["measurements"] == []
    manifest = open_bundle(place).manifest
    assert manifest.default_artifact == "fp32"
    assert manifest.metrics["onnx fp32"]["n"] == 12  # a fifth of the rows is the report split
    assert [one.spec.override for one in manifest.main.artifacts] == [None, "a toy"]
    assert {"min-agreement", "max-drop"} <= {check.name for check in manifest.main.artifacts[0].checks}
    verify_bundle(place).raise_for_gate()


def test_every_exporter_has_a_variant_of_its_own_name() -> None:
    known = known_variants()
    assert {spec.kind for spec in known.values()} == set(EXPORTERS)
    assert all(spec.name == name for name, spec in known.items())
    assert [spec.name for spec in parse_variants("fp32, fused")] == ["fp32", "fp32-fused"]
    assert [spec.required for spec in parse_variants("fp32,fp16")] == [True, False]
    with pytest.raises(UsageError, match="'fp32-fused' is listed twice"):
        parse_variants("fused,fp32-fused")
    with pytest.raises(UsageError, match="expected NAME=REASON"):
        with_overrides(parse_variants("fp32"), ["fp32= "])


def test_samples_are_real_varied_and_always_the_same() -> None:
    texts = list(sentences())
    assert len(set(texts)) == len(texts) == 64
    assert {1, 20} == {min(len(text.split()) for text in texts), max(len(text.split()) for text in texts)}
    for channels in (1, 3):
        info = DataInfo("image-classification", {"label": ["a", "b"]}, ImageInfo(20, 24, channels))
        crops = photo_crops(info)
        assert crops.shape == (32, 20, 24, channels)
        assert crops.dtype == np.uint8
        assert len(np.unique(crops.reshape(32, -1), axis=0)) == 32
        assert (crops == photo_crops(info)).all()


def test_classes_have_the_best_names_at_hand() -> None:
    assert class_names(Named("hf:x", known=Known(2, ["no", "yes"])), 2) == ["no", "yes"]
    assert class_names(Named("cifar:resnet8"), 2) == ["class 0", "class 1"]
    names = class_names(Named("timm:resnet18"), 1000)
    assert names[0].startswith("tench")
    assert len(set(names)) == 1000
