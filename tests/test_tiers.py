"""The rules of tests/tiers.py, on tests of tests."""

import pytest

pytestmark = pytest.mark.slow  # each starts pytest within pytest
pytest_plugins = ["pytester"]

INI = "[pytest]\nmarkers =\n    slow\n    heavy\n    real_data\n"
BURN = """
import time
import pytest

def burn(seconds):
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass
"""


@pytest.fixture
def ran(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    """Run a file of tests under the rules, limit 0.05 s, ceiling 0.2 s, in a session of its own."""
    from tests import tiers

    monkeypatch.setattr(tiers, "CALL_LIMIT_S", 0.05)
    monkeypatch.setattr(tiers, "CALL_CEILING_S", 0.2)
    pytester.makeini(INI)

    def run(text: str, *options: str) -> pytest.RunResult:
        pytester.makepyfile(BURN + text)
        return pytester.runpytest_inprocess("-p", "tests.tiers", "-p", "no:xdist", "-q", *options)

    return run


def test_a_call_over_the_limit_is_listed_and_passes(ran) -> None:
    found = ran("def test_a():\n    burn(0.1)\ndef test_b():\n    pass\n")
    found.assert_outcomes(passed=2)
    found.stdout.re_match_lines([r".*1 used over 0\.05 s", r"0\.\d\d s  .*::test_a", "make it cheaper"])
    assert "::test_b" not in found.stdout.str()


def test_a_call_over_the_ceiling_fails_the_second_time_and_is_told_what_to_do(ran) -> None:
    found = ran("def test_a(tmp_path):\n    (tmp_path / 'once').mkdir()\n    burn(0.3)\n")
    found.assert_outcomes(failed=1)
    found.stdout.re_match_lines(
        [
            r".*::test_a: its call used [\d.]+ s and then [\d.]+ s of CPU time, allowed are 0\.2 s; "
            r"make it cheaper .*, or mark it slow, or heavy if it belongs to `make test-heavy`"
        ]
    )


def test_a_first_call_may_warm_up_and_is_reported_once(ran) -> None:
    found = ran("calls = []\ndef test_a():\n    calls.append(1)\n    burn(0.3 if len(calls) == 1 else 0)\n")
    found.assert_outcomes(passed=1)


def test_a_test_that_fails_the_second_time_fails_for_its_own_reason(ran) -> None:
    found = ran("calls = []\ndef test_a():\n    calls.append(1)\n    burn(0.3)\n    assert len(calls) < 2\n")
    found.assert_outcomes(failed=1)
    assert "CPU time" not in found.stdout.str()


def test_children_that_were_waited_for_count(ran) -> None:
    code = "import time\\nwhile time.process_time() < 0.3: pass"
    found = ran(
        f'import subprocess, sys\ndef test_a():\n    subprocess.run([sys.executable, "-c", "{code}"])\n'
    )
    found.assert_outcomes(failed=1)


def test_fixtures_sleep_and_marked_tests_have_no_limit(ran) -> None:
    found = ran(
        "@pytest.fixture\ndef ready():\n    burn(0.3)\n    yield\n    burn(0.3)\n"
        "def test_ready(ready): pass\n"
        "def test_waits(): time.sleep(0.3)\n"
        "@pytest.mark.slow\ndef test_slow(): burn(0.3)\n"
        "@pytest.mark.heavy\ndef test_heavy(): burn(0.3)\n"
    )
    found.assert_outcomes(passed=4)


READS = """
@pytest.mark.real_data
def test_real(): pytest.skip('no such set')
def test_toy(): pytest.skip('no toy')
"""


@pytest.mark.parametrize(
    ("data", "ci", "outcomes", "said"),
    [
        ("", "1", {"skipped": 2}, "COMPACTOR_DATA is not set"),
        ("/data", "", {"skipped": 2}, "no such set"),
        ("/data", "1", {"failed": 1, "skipped": 1}, "no such set; under CI with COMPACTOR_DATA=/data"),
    ],
)
def test_real_data_may_be_skipped_where_it_is_not_promised(
    ran, monkeypatch: pytest.MonkeyPatch, data: str, ci: str, outcomes: dict[str, int], said: str
) -> None:
    monkeypatch.setenv("COMPACTOR_DATA", data)
    monkeypatch.setenv("CI", ci)
    found = ran(READS, "-rs")
    found.assert_outcomes(**outcomes)
    assert said in found.stdout.str()


def test_an_empty_selection_is_no_success(ran) -> None:
    assert ran("def test_a(): pass\n", "-m", "heavy").ret == pytest.ExitCode.NO_TESTS_COLLECTED
