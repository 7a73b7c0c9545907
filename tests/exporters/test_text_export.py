"""Text encoders from student to bundle: a small BERT, its feeds, its padding, and what is refused of them."""

from dataclasses import replace

import msgspec
import numpy as np
import onnx
import pytest
import torch
from onnx.numpy_helper import to_array
from torch import Tensor, nn

from compactor_exporters import ExportSource, Workspace, export_artifact
from compactor_exporters.bundle_writer import BundleContents, write_bundle
from compactor_exporters.source import check_deploy_weights
from compactor_exporters.verify.artifact import verify_artifact
from compactor_exporters.verify.samples import edge_samples
from compactor_exporters.verify.text_samples import padded_pairs, real_tokens, text_ports
from compactor_runtimes import load, open_bundle, verify_bundle
from compactor_runtimes.bundle.manifest import (
    EmbeddingPost,
    ExportSpec,
    InputPort,
    OutputPort,
    SoftmaxPost,
    TextPre,
)
from compactor_runtimes.errors import IntegrityError, UsageError
from compactor_runtimes.predict.text import TextPipeline
from tests.runtimes.text_bundles import write_tokenizer

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{number}" for number in range(96))]
PRE = TextPre(tokenizer="assets/tokenizer.json", max_tokens=24, pad_id=0)
TEXTS = ["w1 w2 w3", "", "w9", "w5 w6 w7 w8 w90 w91", "w3 " * 40]


class Bert(nn.Module):
    """A random BERT that classifies by the state of its first token."""

    def __init__(self) -> None:
        from transformers import BertConfig, BertModel

        super().__init__()
        config = BertConfig(
            vocab_size=100,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=32,
            attn_implementation="eager",
        )
        self.bert = BertModel(config, add_pooling_layer=False)
        self.head = nn.Linear(32, 5)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.head(
            self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state[:, 0]
        )


class Words(nn.Module):
    """A mean of word vectors, exported in no time; `masked` says whether padding is left out."""

    def __init__(self, *, masked: bool = True) -> None:
        super().__init__()
        self.embedding, self.masked = nn.Embedding(100, 8), masked

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        weights = attention_mask.unsqueeze(-1).float()
        if not self.masked:
            weights = weights * 0 + 1
        return (self.embedding(input_ids) * weights).sum(1) / weights.sum(1).clamp(min=1)


def source_of(module: nn.Module, width: int, *, classes: bool = False) -> ExportSource:
    ports = [
        InputPort(name=name, dtype="int64", axes=["batch", "tokens"], min=[1, 2], max=[8, 24], role=role)
        for name, role in (("input_ids", "tokens"), ("attention_mask", "mask"))
    ]
    mask = torch.ones(2, 6, dtype=torch.int64)
    mask[1, 3:] = 0
    name, axes = "logits" if classes else "embedding", ["batch", width]
    output = (
        OutputPort(name=name, dtype="float32", axes=axes, role="logits", labels="label")
        if classes
        else OutputPort(name=name, dtype="float32", axes=axes, role="embedding")
    )
    return ExportSource(
        name="toy-text",
        task="text-classification" if classes else "embedding",
        module=module.eval(),
        example={"input_ids": torch.randint(4, 100, (2, 6)) * mask, "attention_mask": mask},
        inputs=ports,
        outputs=[output],
        pre=[PRE],
        post=[SoftmaxPost(output=name, labels="label") if classes else EmbeddingPost(output=name)],
        labels={"label": [str(number) for number in range(width)]} if classes else {},
        student_weights=dict(module.state_dict(keep_vars=True)),
    )


@pytest.fixture(scope="module")
def assets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("assets")
    write_tokenizer(folder / PRE.tokenizer, WORDS)
    return folder


@pytest.fixture(scope="module")
def feeds(assets):
    return TextPipeline(PRE, assets)(TEXTS)


@pytest.fixture(scope="module")
def bert(tmp_path_factory, feeds):
    torch.manual_seed(0)
    source, folder = source_of(Bert(), 5, classes=True), tmp_path_factory.mktemp("bert")
    workspace = Workspace(folder)
    artifact = export_artifact(source, ExportSpec(required=True), workspace)
    return source, verify_artifact(source, artifact, workspace, feeds=feeds), folder


def words_of(folder, feeds, **options):
    torch.manual_seed(0)
    source = source_of(Words(**options), 8)
    workspace = Workspace(folder)
    artifact = export_artifact(source, ExportSpec(required=True), workspace)
    return source, verify_artifact(source, artifact, workspace, feeds=feeds)


def test_a_bert_encoder_is_exported_with_its_weights_and_dynamic_axes(bert):
    source, artifact, folder = bert
    model = onnx.load(folder / "fp32.onnx")
    held = {name: tensor.numpy() for name, tensor in source.module.state_dict().items()}
    found = {each.name: to_array(each) for each in model.graph.initializer}
    for name in ("bert.embeddings.word_embeddings.weight", "bert.embeddings.position_embeddings.weight"):
        assert (found[name] == held[name]).all()
    assert {node.domain for node in model.graph.node} == {""}
    axes = [
        [dim.dim_param or dim.dim_value for dim in each.type.tensor_type.shape.dim]
        for each in model.graph.input
    ]
    assert axes == [["batch", "tokens"]] * 2
    assert (artifact.status, artifact.reason) == ("verified", "")
    checks = {check.name: check for check in artifact.checks}
    assert {name: check.n for name, check in checks.items()} == {
        "shape-grid": 8,  # batch 1, 2, 7, 8 with 2 and with 24 tokens
        "real-samples": 5,
        "edge-samples": 3,
        "student-padding": 8,  # the four texts shorter than 24, by one token and to 24
        "padding": 8,
        "noise-floor": None,
        "agreement": 5,
    }
    assert "torch float32 vs float64" in checks["noise-floor"].detail
    assert 1e-7 < artifact.limits["logits"] < 1e-4


def test_position_ids_that_a_module_keeps_out_of_its_state_are_no_foreign_weights(bert):
    source = bert[0]
    outside = {name for name, _ in source.module.named_buffers()} - set(source.module.state_dict())
    assert outside == {"bert.embeddings.position_ids", "bert.embeddings.token_type_ids"}
    check_deploy_weights(source)
    source.module.register_buffer("table", torch.rand(3), persistent=False)
    try:
        with pytest.raises(UsageError, match=r"1 weights that are not the student's own \(table\)"):
            check_deploy_weights(source)
    finally:
        del source.module.table


@pytest.mark.slow
@pytest.mark.parametrize("classes", [True, False])
def test_a_bundle_of_texts_verifies_and_predicts_with_its_own_tokenizer(
    bert, assets, feeds, tmp_path, classes
):
    if classes:
        source, artifact, folder = bert
    else:
        folder = tmp_path / "artifacts"
        source, artifact = words_of(folder, feeds)
    source = replace(source, assets={PRE.tokenizer: assets / PRE.tokenizer})
    bundle = write_bundle(tmp_path / "bundle", contents(source, artifact, folder, tmp_path))
    assert PRE.tokenizer in {entry.path for entry in open_bundle(bundle).manifest.files}
    assert (bundle / "golden/case-000.txt").read_text() == "w1 w2 w3\n"
    verification = verify_bundle(bundle, threads=1)
    assert verification, verification.rows
    assert len(verification.rows) == 5
    with torch.no_grad():
        expected = source.module(*(torch.from_numpy(feeds[port.name]) for port in source.inputs)).numpy()
    readme = (bundle / "README.md").read_text()
    assert 'compactor predict path/to/this/folder "turn on the light"' in readme
    assert "pip install 'compactor-toolkit[text]'" in readme
    with load(bundle, threads=1) as model:
        np.testing.assert_allclose(model.logits(TEXTS), expected, atol=1e-5)
        found = model.predict(TEXTS)
    if classes:
        assert [each.index for each in found] == expected.argmax(1).tolist()
        assert 'print(model.predict("turn on the light").label)' in readme
    else:
        unit = expected / np.linalg.norm(expected, axis=1, keepdims=True)
        np.testing.assert_allclose([each.vector for each in found], unit, atol=1e-5)
        assert 'print(model.predict("turn on the light").vector)' in readme
    # the words in another order, with the digest put right: only the golden cases know
    write_tokenizer(bundle / PRE.tokenizer, [*WORDS[:4], *reversed(WORDS[4:])])
    rehash(bundle)
    assert not verify_bundle(bundle, threads=1).rows[0].passed


def test_a_text_bundle_passes_on_openvino(bert, assets, tmp_path):
    source, artifact, folder = bert
    given = contents(
        replace(source, assets={PRE.tokenizer: assets / PRE.tokenizer}), artifact, folder, tmp_path
    )
    result = verify_bundle(write_bundle(tmp_path / "bundle", given), runtime="openvino", threads=1)
    result.raise_for_gate()
    assert {"output logits", "output logits, batched", "decoding of logits"} <= {
        row.check for row in result.rows
    }


def contents(source, artifact, folder, tmp_path) -> BundleContents:
    student = tmp_path / "student"
    student.mkdir()
    for name in ("model.safetensors", "config.json"):
        (student / name).write_text("{}")
    raws = []
    for index, text in enumerate(TEXTS):
        raws.append(tmp_path / f"{index}.txt")
        raws[-1].write_text(text + "\n")
    return BundleContents(
        source=source,
        artifacts=[artifact],
        artifact_folder=folder,
        student_folder=student,
        raws=raws,
        default_artifact="fp32",
    )


def rehash(bundle) -> None:
    from compactor_runtimes.bundle.manifest import decode_manifest, encode_manifest
    from compactor_runtimes.bundle.open import file_entry

    path = bundle / "manifest.json"
    manifest = decode_manifest(path.read_bytes(), where="here")
    files = [file_entry(bundle, entry.path) for entry in manifest.files]
    path.write_bytes(encode_manifest(msgspec.structs.replace(manifest, files=files)))


@pytest.mark.slow
def test_a_missing_asset_or_one_out_of_the_folder_is_refused(feeds, assets, tmp_path):
    source, artifact = words_of(tmp_path / "artifacts", feeds)
    given = contents(source, artifact, tmp_path / "artifacts", tmp_path)
    with pytest.raises(IntegrityError, match=r"tokenizer\.json: cannot be read as a tokenizer"):
        write_bundle(tmp_path / "bundle", given)
    for asset, words in (
        ("../outside.json", r"without '\.\.'"),
        ("assets/labels.json", "already has a file"),
    ):
        wrong = replace(source, assets={asset: assets / PRE.tokenizer})
        with pytest.raises(IntegrityError, match=words):
            write_bundle(tmp_path / "bundle", replace(given, source=wrong))
    assert not (tmp_path / "bundle").exists()
    assert not (tmp_path / "outside.json").exists()


@pytest.mark.slow
def test_a_student_that_reads_its_padding_is_rejected_by_a_check_of_its_own(feeds, tmp_path):
    _, artifact = words_of(tmp_path, feeds, masked=False)
    checks = {check.name: check for check in artifact.checks}
    assert {name for name, check in checks.items() if not check.passed} == {"student-padding", "padding"}
    assert artifact.status == "rejected"
    assert artifact.reason.startswith("student-padding: output 'embedding' on input_ids [1, ")


@pytest.mark.slow
def test_an_artifact_that_reads_its_padding_is_rejected(feeds, tmp_path):
    source, artifact = words_of(tmp_path, feeds)
    assert artifact.status == "verified"
    assert "agreement" not in {check.name for check in artifact.checks}  # a vector has no top class
    model = onnx.load(tmp_path / "fp32.onnx")
    mask = next(node for node in model.graph.node if "attention_mask" in node.input)
    ones = onnx.helper.make_node("Equal", ["attention_mask", "attention_mask"], ["same"])
    cast = onnx.helper.make_node("Cast", ["same"], ["ones"], to=onnx.TensorProto.INT64)
    mask.input[list(mask.input).index("attention_mask")] = "ones"
    nodes = [ones, cast, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, tmp_path / "fp32.onnx")
    wrong = verify_artifact(source, artifact, Workspace(tmp_path), feeds=feeds)
    failed = {check.name for check in wrong.checks if not check.passed}
    assert failed == {"real-samples", "padding"}


def test_edges_are_the_empty_text_the_longest_and_one_token_repeated(feeds):
    shortest, longest, repeated = edge_samples(source_of(Words(), 8), feeds)
    assert shortest["input_ids"].tolist() == [[2, 3]]  # [CLS] [SEP]
    assert longest["input_ids"].shape == (1, 24)
    assert repeated["input_ids"].tolist() == [[2, *[7] * 22, 3]]  # w3 between [CLS] and [SEP]
    assert all((each["attention_mask"] == 1).all() for each in (shortest, longest, repeated))


def test_padded_copies_hold_the_same_text(feeds):
    source = source_of(Words(), 8)
    ports = text_ports(source)
    pairs = padded_pairs(ports, real_tokens(source, ports, feeds))
    assert [(pair.length, pair.padded["input_ids"].shape[1]) for pair in pairs] == [
        (length, padded) for length in (2, 3, 5, 8) for padded in (length + 1, 24)
    ]
    assert pairs[0].plain["input_ids"].tolist() == [[2, 3]]
    assert pairs[0].padded["input_ids"].tolist() == [[2, 3, 0]]
    assert pairs[0].padded["attention_mask"].tolist() == [[1, 1, 0]]


@pytest.mark.slow
def test_a_mask_with_holes_is_refused(feeds, tmp_path):
    source = source_of(Words(), 8)
    workspace = Workspace(tmp_path)
    artifact = export_artifact(source, ExportSpec(), workspace)
    mask = feeds["attention_mask"].copy()
    mask[3, 1] = 0
    with pytest.raises(UsageError, match=r"'attention_mask' of sample 3 is \[1, 0, 1, .*ones and then zeros"):
        verify_artifact(source, artifact, workspace, feeds=feeds | {"attention_mask": mask})
