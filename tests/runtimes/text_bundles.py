"""Complete bundles around a bag of words and a mean embedding, with a word tokenizer of ten ids by hand."""

import json

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from compactor_runtimes.bundle.manifest import (
    Artifact,
    Component,
    EmbeddingPost,
    ExportSpec,
    Golden,
    GoldenCase,
    InputPort,
    Manifest,
    OutputPort,
    SoftmaxPost,
    TextPre,
    encode_manifest,
)
from compactor_runtimes.bundle.open import file_entry

# The ids are the places in this list; [CLS] and [SEP] are put around a text.
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "turn", "on", "off", "the", "light", "music"]
LABELS = ["on", "off", "music"]
PRE = TextPre(tokenizer="assets/tokenizer.json", max_tokens=6, pad_id=0)
# One row a token id: what it adds to each class. [PAD] adds a lot, so that an ignored mask shows.
TABLE = np.zeros((10, 3), np.float32)
TABLE[0], TABLE[5], TABLE[6], TABLE[9] = [9, 0, 0], [2, 0, 0], [0, 2, 0], [0, 0, 3]


def write_tokenizer(path, words=WORDS, *, special=True):
    """Write a tokenizer.json that asks for cutting at 3 and padding to 9, which must not happen."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordLevel({word: id for id, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if special:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=9, pad_id=1, pad_token="[UNK]")
    path.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path))
    return path


def graph(table=TABLE, *, output="logits", masked=True, batch="batch"):
    """`output[b] = sum over tokens of mask * table[ids]`, or the same sum over the padding too."""
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["rows"])]
    nodes += [
        helper.make_node("Cast", ["attention_mask"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul" if masked else "Add", ["float", "one" if masked else "zero"], ["weighted"]),
        helper.make_node("Unsqueeze", ["weighted", "last"], ["weights"]),
    ]
    if masked:
        nodes.append(helper.make_node("Mul", ["rows", "weights"], ["kept"]))
    else:  # reads the mask, and does nothing with it
        nodes.append(helper.make_node("Mul", ["weights", "zero"], ["nothing"]))
        nodes.append(helper.make_node("Add", ["rows", "nothing"], ["kept"]))
    nodes.append(helper.make_node("ReduceSum", ["kept", "middle"], [output], keepdims=0))
    tensors = {
        "table": table,
        "one": np.array(1, np.float32),
        "zero": np.array(0, np.float32),
        "last": np.array([-1], np.int64),
        "middle": np.array([1], np.int64),
    }
    made = helper.make_graph(
        nodes,
        "texts",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, [batch, "tokens"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [batch, table.shape[1]])],
        [numpy_helper.from_array(values, name) for name, values in tensors.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


class WrittenText:
    """A text bundle on disk and its manifest."""

    def __init__(self, path, manifest):
        self.path, self.manifest = path, manifest

    def replace(self, **fields):
        self.manifest = msgspec.structs.replace(self.manifest, **fields)
        (self.path / "manifest.json").write_bytes(encode_manifest(self.manifest))

    def replace_inputs(self, **fields):
        main = self.manifest.main
        inputs = [msgspec.structs.replace(port, **fields) for port in main.inputs]
        self.replace(components={"main": msgspec.structs.replace(main, inputs=inputs)})

    def save_graph(self, model):
        onnx.save(model, self.path / "artifacts/fp32.onnx")
        self.rehash()

    def rehash(self):
        """Let the manifest state the digests of what lies there now."""
        main = self.manifest.main
        artifacts = [
            msgspec.structs.replace(each, files=[file_entry(self.path, entry.path) for entry in each.files])
            for each in main.artifacts
        ]
        self.replace(
            files=[file_entry(self.path, entry.path) for entry in self.manifest.files],
            components={"main": msgspec.structs.replace(main, artifacts=artifacts)},
        )


# text -> its ids, by hand
CASES = {
    "turn on the light": [2, 4, 5, 7, 8, 3],
    "music": [2, 9, 3],
    "Off!": [2, 6, 1, 3],
    "": [2, 3],
    "turn off the light off off": [2, 4, 6, 7, 8, 3],
}


def write_text_bundle(root, *, embedding=False):
    """Write a classifier of LABELS, or the same sums as an embedding of 3 numbers."""
    output = "embedding" if embedding else "logits"
    for name in ("golden", "artifacts"):
        (root / name).mkdir(parents=True)
    write_tokenizer(root / PRE.tokenizer)
    onnx.save(graph(output=output), root / "artifacts/fp32.onnx")
    tensors, cases = {}, []
    for index, (text, ids) in enumerate(CASES.items()):
        name = f"case-{index:03d}"
        (root / f"golden/{name}.txt").write_text(text + "\n", encoding="utf-8")
        sums = TABLE[ids].sum(axis=0, keepdims=True)
        tensors |= {
            f"{name}.ids": np.array([ids], np.int64),
            f"{name}.mask": np.ones((1, len(ids)), np.int64),
            f"{name}.out": sums,
        }
        if embedding:
            tensors[f"{name}.vector"] = sums / max(float(np.sqrt((sums**2).sum())), 1e-9)
            decoded = {"vector": f"{name}.vector"}
        else:
            powers = np.exp(sums[0].astype(np.float64))
            best = int(powers.argmax())
            decoded = {"label": LABELS[best], "index": best, "confidence": float(powers[best] / powers.sum())}
        cases.append(
            GoldenCase(
                id=name,
                raw=f"golden/{name}.txt",
                feeds={"input_ids": f"{name}.ids", "attention_mask": f"{name}.mask"},
                outputs={output: f"{name}.out"},
                decoded=decoded,
            )
        )
    save_file(
        {key: np.ascontiguousarray(each) for key, each in tensors.items()}, root / "golden/t.safetensors"
    )
    (root / "golden/cases.json").write_text(json.dumps(msgspec.to_builtins(cases)))
    listed = [PRE.tokenizer, "golden/cases.json", "golden/t.safetensors", *(case.raw for case in cases)]
    ports = [
        InputPort(name=name, dtype="int64", axes=["batch", "tokens"], min=[1, 1], max=[4, 6], role=role)
        for name, role in (("input_ids", "tokens"), ("attention_mask", "mask"))
    ]
    classes = {"role": "logits", "labels": "label"}
    port = OutputPort(
        name=output, dtype="float32", axes=["batch", 3], **({"role": "embedding"} if embedding else classes)
    )
    artifact = Artifact(
        name="fp32",
        spec=ExportSpec(),
        files=[file_entry(root, "artifacts/fp32.onnx")],
        status="verified",
        limits={output: 1e-4},
    )
    manifest = Manifest(
        schema_version=1,
        task="embedding" if embedding else "text-classification",
        name="words",
        components={"main": Component(inputs=ports, outputs=[port], artifacts=[artifact])},
        labels={} if embedding else {"label": LABELS},
        pre=[PRE],
        post=[EmbeddingPost(output=output) if embedding else SoftmaxPost(output=output, labels="label")],
        files=[file_entry(root, each) for each in listed],
        golden=Golden(cases="golden/cases.json", tensors="golden/t.safetensors"),
        default_artifact="fp32",
    )
    written = WrittenText(root, manifest)
    written.replace()
    return written
