"""`verify` on a bundle with an engine: trust is asked for, and what cannot run here is told apart."""

import json

import msgspec
import pytest
from click.testing import CliRunner

from compactor.cli import cli
from compactor_runtimes.bundle.manifest import ExportSpec
from compactor_runtimes.bundle.open import file_entry
from compactor_runtimes.errors import UsageError
from tests.runtimes.conftest import write_bundle


@pytest.fixture
def mixed(tmp_path):
    """A bundle whose graph has an engine beside it, which no machine can open."""
    bundle = write_bundle(tmp_path / "bundle")
    (bundle.path / "artifacts/trt.engine").write_bytes(b"an engine of another machine")
    good = bundle.manifest.main.artifacts[0]
    engine = msgspec.structs.replace(
        good,
        name="trt",
        spec=ExportSpec(format="tensorrt"),
        files=[file_entry(bundle.path, "artifacts/trt.engine")],
    )
    bundle.replace_main(artifacts=[good, engine])
    return bundle.path


@pytest.mark.parametrize("options", [[], ["--trust"], ["--trust", "--threads", "1"]])
def test_an_engine_that_is_not_run_is_told_with_its_reason(mixed, options):
    result = CliRunner().invoke(cli, ["verify", str(mixed), *options])
    assert result.exit_code == 0, result.output
    assert "not run: trt (" in result.output
    assert ("an engine is code" in result.output) is (not options)
    found = json.loads(CliRunner().invoke(cli, ["verify", str(mixed), *options, "--json"]).output)
    assert (found["passed"], found["not_run"], list(found["reasons"])) == (True, ["trt"], ["trt"])


@pytest.mark.parametrize(
    "command",
    [
        ["verify", "--runtime", "tensorrt"],
        ["predict", "--artifact", "trt", "--runtime", "tensorrt"],
        ["predict", "--artifact", "trt"],
    ],
)
def test_without_trust_it_is_trust_that_is_missing(mixed, command):
    name, *options = command
    inputs = [str(mixed / "golden/case-0.png")] if name == "predict" else []
    arguments = [name, str(mixed), *inputs, *options]
    result = CliRunner().invoke(cli, arguments)
    assert isinstance(result.exception, UsageError)
    assert "an engine is code and runs as such; pass trust=True (--trust)" in str(result.exception)
    trusted = CliRunner().invoke(cli, [*arguments, "--trust"])
    assert getattr(trusted.exception, "exit_code", None) == 6  # another machine's, or no GPU here
