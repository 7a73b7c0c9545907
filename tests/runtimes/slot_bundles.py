"""Complete bundles that find slots, with or without an intent: the texts and sums of `text_bundles.py`."""

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file, save_file

from compactor_runtimes.bundle.manifest import BioPost, OutputPort, SoftmaxPost
from tests.runtimes.text_bundles import CASES, graph, write_text_bundle

BIO = ["O", "B-device", "I-device", "B-what"]
# One row a token id. [PAD], [CLS] and [SEP] look like a slot, so that it shows if they are read.
SLOTS = np.zeros((10, 4), np.float32)
SLOTS[:, 0] = 1
SLOTS[[0, 2, 3]] = [0, 0, 0, 9]
SLOTS[7], SLOTS[8], SLOTS[9] = [0, 3, 0, 0], [0, 0, 2, 0], [0, 0, 0, 4]  # the, light, music
E = float(np.e)
DEVICE, WHAT = (
    E**2 / (E**2 + 3),
    E**4 / (E**4 + 3),
)  # how sure "the light" (its less sure word) and "music" are

# text -> (slot, start, end, value, confidence), by hand
FOUND = {
    "turn on the light": [("device", 8, 17, "the light", DEVICE)],
    "music": [("what", 0, 5, "music", WHAT)],
    "Off!": [],
    "": [],
    "turn off the light off off": [("device", 9, 18, "the light", DEVICE)],
}


def slot_graph(table=SLOTS, *, intents=True, masked=True):
    """`intent_logits` as in `text_bundles`; `slot_logits[b, l] = table[ids[b, l]]`, or the length of the
    padding on top of it."""
    model = graph(output="intent_logits")
    body = model.graph
    body.initializer.append(numpy_helper.from_array(table, "slots"))
    body.node.append(
        helper.make_node("Gather", ["slots", "input_ids"], ["slot_logits" if masked else "each"])
    )
    if not masked:
        body.node.extend(
            [
                helper.make_node("Sub", ["one", "float"], ["empty"]),
                helper.make_node("ReduceSum", ["empty", "middle"], ["padding"], keepdims=1),
                helper.make_node("Unsqueeze", ["padding", "last"], ["all"]),
                helper.make_node("Add", ["each", "all"], ["slot_logits"]),
            ]
        )
    port = helper.make_tensor_value_info(
        "slot_logits", TensorProto.FLOAT, ["batch", "tokens", table.shape[1]]
    )
    body.output.append(port)
    if not intents:
        del body.output[0]
    return model


def write_slot_bundle(root, *, intents=True):
    """Write a bundle of intents and slots, or of slots alone."""
    bundle = write_text_bundle(root)
    path = root / "golden/t.safetensors"
    tensors = load_file(path)

    def case(each, text):
        name, ids = each["id"], CASES[text]
        tensors[f"{name}.slots"] = SLOTS[[ids]]
        fields = ("name", "start", "end", "value", "confidence")
        each["decoded"]["slots"] = [dict(zip(fields, slot, strict=True)) for slot in FOUND[text]]
        each["outputs"] = {"slot_logits": f"{name}.slots"}
        if intents:
            each["outputs"]["intent_logits"] = f"{name}.out"
        return each

    cases = msgspec.json.decode((root / "golden/cases.json").read_bytes())
    cases = [case(each, text) for each, text in zip(cases, CASES, strict=True)]
    (root / "golden/cases.json").write_bytes(msgspec.json.encode(cases))
    save_file({key: np.ascontiguousarray(each) for key, each in tensors.items()}, path)
    main, labels = bundle.manifest.main, bundle.manifest.labels["label"]
    ports = [
        OutputPort(name="intent_logits", dtype="float32", axes=["batch", 3], role="logits", labels="intent"),
        OutputPort(
            name="slot_logits", dtype="float32", axes=["batch", "tokens", 4], role="logits", labels="slot"
        ),
    ]
    posts = [
        SoftmaxPost(output="intent_logits", labels="intent"),
        BioPost(output="slot_logits", labels="slot"),
    ]
    ports, posts = (ports, posts) if intents else (ports[1:], posts[1:])
    limits = dict.fromkeys((port.name for port in ports), 1e-4)
    artifacts = [msgspec.structs.replace(main.artifacts[0], limits=limits)]
    bundle.replace(
        task="intent-slots" if intents else "token-classification",
        components={"main": msgspec.structs.replace(main, outputs=ports, artifacts=artifacts)},
        labels={"intent": labels, "slot": BIO} if intents else {"slot": BIO},
        post=posts,
    )
    bundle.save_graph(slot_graph(intents=intents))
    return bundle


def save(bundle, model=None, **artifact):
    """Put another graph in the place of the artifact, and change what the manifest says of it."""
    if model is not None:
        onnx.save(model, bundle.path / "artifacts/fp32.onnx")
    main = bundle.manifest.main
    one = msgspec.structs.replace(main.artifacts[0], **artifact)
    bundle.replace(components={"main": msgspec.structs.replace(main, artifacts=[one])})
    bundle.rehash()


def change_cases(bundle, change):
    """Let `change` see each stored case as plain data."""
    path = bundle.path / "golden/cases.json"
    cases = msgspec.json.decode(path.read_bytes())
    for each in cases:
        change(each)
    path.write_bytes(msgspec.json.encode(cases))
    bundle.rehash()
