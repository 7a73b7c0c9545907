"""A small BERT of intents and slots from student to bundle: variants, golden cases, size of int8, README."""

import re
from contextlib import redirect_stdout
from io import StringIO

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compactor_exporters import ExportSource, Workspace, export_artifact
from compactor_exporters.bundle_writer import BundleContents, write_bundle
from compactor_exporters.graph.weight_types import weight_bytes
from compactor_exporters.readme import render_readme
from compactor_exporters.verify.artifact import verify_against
from compactor_exporters.verify.reference import Reference
from compactor_runtimes import load, open_bundle, verify_bundle
from compactor_runtimes.bundle.manifest import (
    BioPost,
    ExportSpec,
    InputPort,
    OutputPort,
    SoftmaxPost,
    TextPre,
    decode_manifest,
    encode_manifest,
)
from compactor_runtimes.predict.bio import spans
from compactor_runtimes.predict.text import TextPipeline
from tests.runtimes.text_bundles import write_tokenizer

VOCABULARY, WIDTH = 8000, 32
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{number}" for number in range(VOCABULARY - 4))]
PRE = TextPre(tokenizer="assets/tokenizer.json", max_tokens=24, pad_id=0)
TEXTS = ["w1 w2 w3", "w90", "  w5 w6  w7\tw8 w90 w91", "w3 " * 40, "wake me at w6", ""]
INTENTS = ["play", "stop", "wake"]
BIO = ["O", "B-time", "I-time", "B-what", "I-what"]
SPECS = {
    "fp32": ExportSpec(required=True),
    "fused": ExportSpec(fused=True),
    "int8": ExportSpec(precision="int8", quantization="dynamic"),
    "int8-fused": ExportSpec(precision="int8", quantization="dynamic", fused=True),
}


class Understands(nn.Module):
    """A random BERT with a head for the text and one for each token."""

    def __init__(self) -> None:
        from transformers import BertConfig, BertModel

        super().__init__()
        config = BertConfig(
            vocab_size=VOCABULARY,
            hidden_size=WIDTH,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=32,
            attn_implementation="eager",
        )
        self.bert = BertModel(config, add_pooling_layer=False)
        self.intent, self.slot = nn.Linear(WIDTH, len(INTENTS)), nn.Linear(WIDTH, len(BIO))
        for head in (self.intent, self.slot):
            nn.init.normal_(head.weight, std=0.5)  # so that answers differ from text to text

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        states = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return self.intent(states[:, 0]), self.slot(states)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The source, its verified artifacts by name in SPECS, and their folder."""
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("slots")
    write_tokenizer(root / PRE.tokenizer, WORDS)
    mask = torch.ones(2, 6, dtype=torch.int64)
    mask[1, 3:] = 0
    module = Understands().eval()
    ports = [
        InputPort(name=name, dtype="int64", axes=["batch", "tokens"], min=[1, 2], max=[4, 24], role=role)
        for name, role in (("input_ids", "tokens"), ("attention_mask", "mask"))
    ]
    outputs = [
        OutputPort(
            name=f"{head}_logits",
            dtype="float32",
            axes=[*axes, len(names)],
            role="logits",
            labels=head,
        )
        for head, axes, names in (("intent", ["batch"], INTENTS), ("slot", ["batch", "tokens"], BIO))
    ]
    source = ExportSource(
        name="toy-slots",
        task="intent-slots",
        module=module,
        example={"input_ids": torch.randint(4, 100, (2, 6)) * mask, "attention_mask": mask},
        inputs=ports,
        outputs=outputs,
        pre=[PRE],
        post=[
            SoftmaxPost(output="intent_logits", labels="intent"),
            BioPost(output="slot_logits", labels="slot"),
        ],
        labels={"intent": INTENTS, "slot": BIO},
        student_weights=dict(module.state_dict(keep_vars=True)),
        assets={PRE.tokenizer: root / PRE.tokenizer},
    )
    folder = root / "artifacts"
    workspace = Workspace(folder)
    reference = Reference(source, TextPipeline(PRE, root)(TEXTS))
    artifacts = {
        name: verify_against(reference, export_artifact(source, spec, workspace), workspace)
        for name, spec in SPECS.items()
    }
    return source, artifacts, folder


@pytest.fixture
def bundle(made, tmp_path):
    source, artifacts, folder = made
    student = tmp_path / "student"
    student.mkdir()
    for name in ("model.safetensors", "config.json"):
        (student / name).write_text("{}")
    raws = []
    for index, text in enumerate(TEXTS):
        raws.append(tmp_path / f"{index}.txt")
        raws[-1].write_text(text + "\n")
    contents = BundleContents(
        source=source,
        artifacts=list(artifacts.values()),
        artifact_folder=folder,
        student_folder=student,
        raws=raws,
        default_artifact="fp32",
    )
    return write_bundle(tmp_path / "bundle", contents)


def test_both_outputs_are_verified_in_every_variant(made):
    _, artifacts, _ = made
    assert {name: (one.status, one.reason) for name, one in artifacts.items()} == {
        name: ("verified", "") for name in SPECS
    }
    for one in artifacts.values():
        assert set(one.limits) == set(one.errors) == {"intent_logits", "slot_logits"}
        assert {"padding", "student-padding", "agreement"} <= {check.name for check in one.checks}


def test_int8_holds_the_embeddings_in_8_bits_too(made):
    source, artifacts, folder = made
    size = {name: artifacts[name].files[0].bytes for name in SPECS}
    table = VOCABULARY * WIDTH
    assert table > 0.9 * sum(weight.numel() for weight in source.student_weights.values())
    for name in ("int8", "int8-fused"):
        held = weight_bytes(folder / artifacts[name].files[0].path)
        assert held["uint8"] + held["int8"] > table
        assert held["float32"] < 0.02 * table
        # a quarter, and the graph itself (some 25 kB of 1.1 MB)
        assert size["fp32"] / size[name] > 3.7


def test_the_bundle_verifies_and_answers_as_the_student_does(made, bundle):
    source = made[0]
    verification = verify_bundle(bundle, threads=1)
    assert verification, [row for row in verification.rows if not row.passed]
    # preprocessing, and for each artifact two outputs, both batched, both decoded, and served
    assert len(verification.rows) == 1 + 7 * len(SPECS)
    encoded = TextPipeline(PRE, bundle).encode_words(TEXTS)
    with load(bundle, threads=1) as model:
        found = model.predict(TEXTS)
        for text, words, answer in zip(TEXTS, encoded, found, strict=True):
            ids = torch.from_numpy(words.ids)[None]
            with torch.no_grad():
                intent, slot = source.module(ids, torch.ones_like(ids))
            assert answer.index == int(intent.argmax())
            assert answer.confidence == pytest.approx(float(intent.softmax(-1).max()), abs=1e-4)
            labels = [BIO[int(slot[0, at].argmax())] if at >= 0 else "O" for at in words.first.tolist()]
            expected = [
                (name, words.bounds[first][0], words.bounds[after - 1][1])
                for name, first, after in spans(labels)
            ]
            assert [(each.name, each.start, each.end) for each in answer.slots] == expected
            assert all(text[each.start : each.end] == each.value for each in answer.slots)
    assert len({slot.name for answer in found for slot in answer.slots}) == 2  # there is something to find
    with load(bundle, artifact="int8-dynamic", threads=1) as model:
        np.testing.assert_allclose(
            model.outputs(TEXTS[0])["intent_logits"], intent_of(source, encoded[0].ids), atol=0.2
        )


def intent_of(source, ids):
    tensor = torch.from_numpy(ids)[None]
    with torch.no_grad():
        return source.module(tensor, torch.ones_like(tensor))[0].numpy()


def test_golden_cases_hold_intent_and_slots_of_the_student(bundle):
    cases = msgspec.json.decode((bundle / "golden/cases.json").read_bytes())
    assert set(cases[0]["decoded"]) == {"label", "index", "confidence", "slots"}
    assert set(cases[0]["outputs"]) == {"intent_logits", "slot_logits"}
    slots = [(TEXTS[number], slot) for number, case in enumerate(cases) for slot in case["decoded"]["slots"]]
    assert slots
    for text, slot in slots:
        assert text[slot["start"] : slot["end"]] == slot["value"]
        assert 1 / len(BIO) < slot["confidence"] <= 1


def test_swapped_labels_behind_right_digests_are_found(bundle):
    path = bundle / "manifest.json"
    manifest = decode_manifest(path.read_bytes(), where="here")
    swapped = [BIO[0], *BIO[3:], *BIO[1:3]]
    labels = manifest.labels | {"slot": swapped}
    path.write_bytes(encode_manifest(msgspec.structs.replace(manifest, labels=labels)))
    rows = verify_bundle(bundle, threads=1).rows
    assert {(row.artifact, row.check) for row in rows if not row.passed} == {
        (artifact.name, "decoding of slot_logits") for artifact in manifest.main.artifacts
    }


def test_the_readme_of_a_bundle_shows_a_snippet_that_runs(bundle):
    readme = (bundle / "README.md").read_text()
    (snippet,) = re.findall("```python\n(.*?)```", readme, re.DOTALL)
    said = StringIO()
    with redirect_stdout(said):
        exec(snippet.replace("path/to/this/folder", str(bundle)), {})
    label, confidence, *_ = said.getvalue().split()
    assert label in INTENTS
    assert 1 / 3 < float(confidence) <= 1
    assert "print(answer.label, answer.confidence, answer.slots)" in snippet
    assert "`text[slot.start:slot.end] == slot.value`" in readme
    manifest = open_bundle(bundle).manifest
    alone = render_readme(msgspec.structs.replace(manifest, post=manifest.post[1:]))
    assert "print(answer.slots)" in alone
