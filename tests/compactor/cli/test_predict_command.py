"""`predict` and `inspect` on bundles that take texts: arguments, standard input, JSON and words."""

import json

import msgspec
import pytest
from click.testing import CliRunner

from compactor.cli import cli
from compactor_runtimes.errors import NumericGateError, UsageError
from tests.runtimes.slot_bundles import DEVICE, change_cases, write_slot_bundle
from tests.runtimes.text_bundles import write_text_bundle


@pytest.fixture
def texts(tmp_path):
    return str(write_text_bundle(tmp_path / "bundle").path)


def run(*arguments, given=None):
    result = CliRunner().invoke(cli, list(arguments), input=given)
    assert result.exit_code == 0, result.output
    return result.output


def test_inputs_are_texts_and_a_text_is_one_line(texts):
    output = run("predict", texts, "turn on", "light\n\tmusic")
    # e^2 / (e^2 + 2) and e^3 / (e^3 + 2)
    assert output == "turn on\ton\t0.7870\nlight music\tmusic\t0.9094\n"


def test_a_dash_reads_one_text_a_line(texts):
    output = run("predict", texts, "off", "-", given="music\n\nturn on\n")
    assert [line.split("\t")[:2] for line in output.splitlines()] == [
        ["off", "off"],
        ["music", "music"],
        ["", "on"],
        ["turn on", "on"],
    ]
    assert run("predict", texts, "-", given="") == ""


def test_json_holds_text_and_probabilities(texts):
    (found,) = json.loads(run("predict", texts, "turn  on", "--json"))
    assert (found["text"], found["label"], found["index"]) == ("turn  on", "on", 0)
    assert sum(found["probabilities"]) == pytest.approx(1)


def test_what_is_rejected_is_said_and_verified(tmp_path):
    """Sure 0.7870 of "turn on" and 0.9094 of two words for music: the threshold lies between them."""
    bundle = write_text_bundle(tmp_path / "bundle")
    (post,) = bundle.manifest.post
    bundle.replace(post=[msgspec.structs.replace(post, reject_below=0.9)])
    lines = run("predict", str(bundle.path), "turn on", "light music").splitlines()
    assert [line.split("\t") for line in lines] == [
        ["turn on", "on", "0.7870", "rejected"],
        ["light music", "music", "0.9094"],
    ]
    found = json.loads(run("predict", str(bundle.path), "turn on", "light music", "--json"))
    assert [(one["label"], one["rejected"]) for one in found] == [("on", True), ("music", False)]
    assert "labels 'label', rejected below 0.9" in " ".join(run("inspect", str(bundle.path)).split())
    result = CliRunner().invoke(cli, ["verify", str(bundle.path)])
    assert isinstance(result.exception, NumericGateError)  # its golden cases were made without a threshold
    assert "the stored answer does not follow from logits" in str(result.exception)
    change_cases(bundle, lambda case: case["decoded"].update(rejected=case["decoded"]["confidence"] < 0.9))
    assert json.loads(run("verify", str(bundle.path), "--json"))["passed"] is True


def test_embeddings_are_printed_as_json(tmp_path):
    path = str(write_text_bundle(tmp_path / "bundle", embedding=True).path)
    assert json.loads(run("predict", path, "music", "-", given="on\n")) == [
        {"text": "music", "embedding": [0, 0, 1], "truncated": False},
        {"text": "on", "embedding": [1, 0, 0], "truncated": False},
    ]


def test_slots_are_printed_behind_the_intent_with_their_offsets(tmp_path):
    path = str(write_slot_bundle(tmp_path / "bundle").path)
    output = run("predict", path, "turn on the  light", "off")
    assert output == "turn on the light\ton\t0.7870\tdevice[8:18]=the light\noff\toff\t0.7870\n"
    (found,) = json.loads(run("predict", path, "turn on the light", "--json"))
    assert (found["text"], found["label"], len(found["probabilities"])) == ("turn on the light", "on", 3)
    (slot,) = found["slots"]
    assert slot.pop("confidence") == pytest.approx(DEVICE, abs=1e-6)
    assert slot == {"name": "device", "start": 8, "end": 17, "value": "the light"}
    output = " ".join(run("inspect", path).split())
    assert "after the graph: slot_logits -> one of the labels 'slot' for each word -> slots" in output


def test_slots_alone_are_printed_without_an_intent(tmp_path):
    path = str(write_slot_bundle(tmp_path / "bundle", intents=False).path)
    assert run("predict", path, "music and the light", "off") == (
        "music and the light\twhat[0:5]=music\tdevice[10:19]=the light\noff\n"
    )
    (found,) = json.loads(run("predict", path, "off", "--json"))
    assert found == {"text": "off", "slots": [], "truncated": False}


LONG = "off off off off off off off"


def test_a_text_that_is_cut_says_so(texts, tmp_path):
    lines = run("predict", texts, LONG, "off").splitlines()
    assert [line.split("\t")[3:] for line in lines] == [["truncated"], []]
    found = json.loads(run("predict", texts, LONG, "off", "--json"))
    assert [each["truncated"] for each in found] == [True, False]
    for kind, write in (
        ("vectors", write_text_bundle),
        ("slots", write_slot_bundle),
        ("tags", write_slot_bundle),
    ):
        options = {"vectors": {"embedding": True}, "slots": {}, "tags": {"intents": False}}[kind]
        path = str(write(tmp_path / kind, **options).path)
        found = json.loads(run("predict", path, LONG, "off", "--json"))
        assert [each["truncated"] for each in found] == [True, False]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            "off\nna\xefve\n".encode("latin-1"),
            "standard input: is not UTF-8, line 2 holds the byte 0xEF; save",
        ),
        ("off\n".encode("utf-16"), "standard input: is UTF-16, as its first bytes say, expected UTF-8"),
    ],
)
def test_other_standard_input_than_utf_8_is_answered(texts, given, says):
    result = CliRunner().invoke(cli, ["predict", texts, "-"], input=given)
    assert isinstance(result.exception, UsageError)
    assert str(result.exception).startswith(says)


def test_lines_of_standard_input_end_where_editors_end_them(texts):
    output = run("predict", texts, "-", given="\ufeffoff\r\nturn on\u2028music\r\n".encode())
    assert [line.split("\t")[1] for line in output.splitlines()] == ["off", "music"]


def test_help_teaches_both_kinds_of_input():
    output = run("predict", "--help")
    assert '/bundle "turn on the light"' in output
    assert "/bundle/golden/*.png" in output
    assert "one text a line from standard" in " ".join(output.split())


def test_inspect_says_how_texts_are_cut_and_what_comes_out(texts, tmp_path):
    output = " ".join(run("inspect", texts).split())
    assert (
        "before the graph: text -> tokens of assets/tokenizer.json, at most 6, a batch padded on the right "
        "with id 0 -> input_ids, attention_mask"
    ) in output
    assert "after the graph: logits -> softmax -> one of the labels 'label'" in output
    vectors = str(write_text_bundle(tmp_path / "vectors", embedding=True).path)
    assert "embedding -> vector, divided by its length" in run("inspect", vectors)


def test_a_runtime_is_chosen_by_its_name(texts):
    plain = run("predict", texts, "turn on")
    assert run("predict", texts, "turn on", "--runtime", "openvino") == plain
    found = json.loads(run("verify", texts, "--runtime", "openvino", "--json"))
    assert found["passed"] is True
    for command in (["predict", texts, "turn on"], ["verify", texts]):
        for name, said in (
            ("ort-cpuu", "unknown runtime 'ort-cpuu'; did you mean 'ort-cpu'?"),
            ("tensorrt", "which runtime 'tensorrt' does not open"),
        ):
            result = CliRunner().invoke(cli, [*command, "--runtime", name])
            assert isinstance(result.exception, UsageError)
            assert said in str(result.exception)
