"""The page's module run by Node.js: without a document it only exports its functions."""

import json
import shutil
import subprocess
from importlib.resources import files

import pytest

NODE = shutil.which("node")
APP = files("compactor_exporters.deploy").joinpath("templates/web/app.mjs")

needs_node = pytest.mark.skipif(NODE is None, reason="no Node.js on this machine")


def in_node(code, given, folder):
    """What `code` leaves in `found`; `app` is the page's module, `given` plain data."""
    (folder / "given.json").write_text(json.dumps(given))
    script = folder / "script.mjs"
    script.write_text(
        f"import * as app from {json.dumps(str(APP))};\nimport fs from 'node:fs';\n"
        f"const given = JSON.parse(fs.readFileSync({json.dumps(str(folder / 'given.json'))}));\nlet found;\n"
        f"{code}\nconsole.log(JSON.stringify(found));\n"
    )
    done = subprocess.run([NODE, str(script)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
