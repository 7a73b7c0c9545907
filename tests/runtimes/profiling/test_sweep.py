"""Settings to try, as they are said and as they multiply."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compactor_runtimes.errors import UsageError
from compactor_runtimes.profiling.bounds import parse_bound
from compactor_runtimes.profiling.sweep import Setting, parse_sweep


def test_every_combination_of_threads_and_spinning_is_a_setting_and_batches_are_not():
    sweep = parse_sweep(["threads=1,2", "batch=1,8", "spinning=on,off"])
    assert sweep.batch == [1, 8]
    assert sweep.settings(threads=None, spins=True) == [
        Setting(1, True),
        Setting(1, False),
        Setting(2, True),
        Setting(2, False),
    ]
    assert sweep.settings(threads=None, spins=False) == [Setting(1), Setting(2)]
    assert sweep.plain == {"threads": [1, 2], "batch": [1, 8], "spinning": ["on", "off"]}


def test_without_a_sweep_there_is_one_setting():
    assert parse_sweep([]).settings(threads=3, spins=True) == [Setting(3)]
    assert parse_sweep([]).plain == {}


def test_a_setting_says_what_is_set():
    assert Setting(2, False).words == "threads 2, spinning off"
    assert Setting().words == ""


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["thread=1"], "unknown setting 'thread'; did you mean 'threads'"),
        (["threads=1", "threads=2"], "threads is swept twice"),
        (["threads="], "expected one or more values, each once"),
        (["batch=8,8"], "expected one or more values, each once"),
        (["batch=0"], "got '0', expected a whole number from 1 to 4096"),
        (["batch=-1"], "got '-1', expected a whole number"),
        (["batch=1.5"], "got '1.5', expected a whole number"),
        (["threads=4000"], "threads: got 4000"),
        (["spinning=maybe"], "got 'maybe', expected on or off"),
        (["threads=" + ",".join(map(str, range(1, 70)))], "69 combinations of threads and spinning found"),
    ],
)
def test_what_is_no_sweep_is_one_sentence(texts, message):
    with pytest.raises(UsageError, match=message):
        parse_sweep(texts)


@given(st.text(max_size=30))
def test_any_text_is_a_sweep_and_a_bound_or_a_usage_error(text):
    for read in (lambda: parse_sweep([text]), lambda: parse_bound(text)):
        try:
            read()
        except UsageError:
            pass


@pytest.mark.parametrize(
    ("text", "q", "ns"),
    [("p99=50ms", 0.99, 50_000_000), ("p90 = 800us", 0.9, 800_000), ("p99.9=1.5s", 0.999, 1_500_000_000)],
)
def test_a_bound_is_a_percentile_and_a_time(text, q, ns):
    bound = parse_bound(text)
    assert (bound.q, bound.ns) == (pytest.approx(q), ns)


@pytest.mark.parametrize("text", ["p99", "50ms", "p99=50", "p10=50ms", "p99=0ms", "p100=1s", "P99=1s"])
def test_what_is_no_bound_is_refused_with_an_example(text):
    with pytest.raises(UsageError, match="such as p99=50ms"):
        parse_bound(text)
