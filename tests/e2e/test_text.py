"""From texts in a CSV file to a bundle that understands them without torch, and no recipe file on the way."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from compactor_runtimes.report import read_report
from tests.command_line import compactor, fresh_compactor
from tests.compactor.text_toys import bert_folder, write_tokenizer
from tests.conftest import ROOT

SAID = {"light": "turn on the light", "music": "play music now", "time": "what time is it"}
WITHOUT_TORCH = """
import json, sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers", "compactor"):
            raise ImportError(name)
sys.meta_path.insert(0, Block())
import compactor_runtimes
compactor_runtimes.verify_bundle(sys.argv[1]).raise_for_gate()
with compactor_runtimes.load(sys.argv[1]) as model:
    found = model.predict(["turn on the light", "what time is it now play"])
print(json.dumps([one.label for one in found]))
"""


@pytest.mark.heavy
def test_texts_become_a_bundle_with_one_command(tmp_path: Path) -> None:
    """A smoke run: a BERT without a head gets one, and of its four layers the second and the fourth stay."""
    folder = bert_folder(tmp_path / "bert", max_position_embeddings=40)
    write_tokenizer(folder)
    with (tmp_path / "talk.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows([text, label] for _ in range(25) for label, text in SAID.items())
    done = fresh_compactor(
        *("run", "--student", "hf:bert?layers=[1,3]@pretrained", "--data", "talk.csv"),
        *("--smoke", "--set", "measure.scenarios=[single-stream]"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "recipe: runs/" in done.stderr.replace("\n", "")
    (root,) = (tmp_path / "runs").glob("*-smoke")
    run = (root / "latest").resolve()
    report = read_report(run / "report" / "report.json")
    assert report.task == "text-classification"
    assert report.labelled
    assert [row.kind for row in report.accuracy][:2] == ["student", "artifact"]
    assert {path.name for path in (run / "bundle" / "reports").iterdir()} == {
        "report.json",
        "report.md",
        "report.html",
        "predictions.safetensors",
    }
    served = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(run / "bundle")],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("runtimes", "exporters")),
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert served.returncode == 0, served.stderr
    assert set(json.loads(served.stdout)) <= set(SAID)
    spoken = compactor("predict", str(run / "bundle"), "play music", cwd=tmp_path)
    assert spoken.returncode == 0, spoken.stderr
    assert spoken.stdout.startswith("play music\t")
