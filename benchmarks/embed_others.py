"""What others' programs say of what we wrote: a browser, NVIDIA's client, schemathesis.

`python -m benchmarks.embed_others web|clients` prints one JSON line.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.workers import ROOT

CLIENTS = "tests/runtimes/server/test_other_clients.py"
TESTS = {
    "tritonclient": "test_the_client_of_nvidia_works_with_its_defaults",
    "schemathesis": "test_schemathesis_finds_no_failure_of_the_server_and_no_answer_that_is_not_described",
}


def web() -> dict[str, Any]:
    """Self-tests of two pages in headless Chromium: images that are resized and cropped, and texts."""
    from compactor_exporters.deploy import deploy
    from tests.exporters.deploy.test_web_browser import photos, self_tested, verdict
    from tests.runtimes.text_bundles import write_text_bundle

    found = {}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        bundles = {"images": photos(root / "images"), "texts": write_text_bundle(root / "texts").path}
        for kind, bundle in bundles.items():
            folder = deploy(bundle, "web", output=root / f"page-{kind}").folder
            page, complaints = self_tested(folder, root / f"profile-{kind}")
            found[kind] = {**verdict(page), "complaints": complaints}
    return found


def clients() -> dict[str, Any]:
    """The tests that ask a real server with each; whether they pass."""
    passed = {}
    for name, test in TESTS.items():
        command = [sys.executable, "-m", "pytest", "-q", "-m", "heavy", f"{CLIENTS}::{test}"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        passed[name] = done.returncode == 0 and "1 passed" in done.stdout
    return passed


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]]()))
