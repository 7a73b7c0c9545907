"""The whole harness: real worker processes over toy runtimes of known speed and known misbehaviour."""

import errno
import os
import sys
import tempfile
import time

import msgspec
import pytest

from compactor_runtimes.errors import IntegrityError, UnfitEnvironmentError, UsageError
from compactor_runtimes.measure import Settings, measure
from compactor_runtimes.measure.child import Child
from compactor_runtimes.measure.harness import sample_set_digest
from compactor_runtimes.measure.measurement import Bound, FirstAnswer, Job, MemoryUse, Ready
from compactor_runtimes.measure.rounds import turns
from tests.full_disk import no_room, tiny_disk

psutil = pytest.importorskip("psutil")
SMOKE = Settings(profile="smoke", offline_batches=[4], cold_starts=2)
SHORT = Settings(profile="smoke", scenarios=["single-stream"], cold_starts=0)


def no_children_left():
    """Tell whether every worker of this process has ended."""
    alive = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    return not [child for child in alive if "compactor_runtimes" in " ".join(child.cmdline())]


@pytest.mark.slow
def test_two_toys_of_known_speed_are_measured_side_by_side(candidate, samples):
    told, started_ns = [], time.perf_counter_ns()
    found = measure(
        [candidate("fast"), candidate("slow")], samples, SMOKE, progress=lambda *step: told.append(step)
    ).measurements
    elapsed_ns = time.perf_counter_ns() - started_ns
    by = {(one.subject, one.scope, one.scenario): one for one in found}
    assert [(one.subject, one.scope, one.scenario) for one in found[:5]] == [
        ("fast", "compute", "single-stream"),
        ("fast", "end-to-end", "single-stream"),
        ("fast", "compute", "offline"),
        ("fast", "end-to-end", "offline"),
        ("fast", "cold-start", "once"),
    ]
    assert len(found) == len(by) == 10

    fast, slow = by["fast", "compute", "single-stream"], by["slow", "compute", "single-stream"]
    # a sleep is never shorter than asked for; how much longer is the machine's affair
    assert 2_000_000 <= min(fast.samples_ns) < 4_000_000 <= min(slow.samples_ns)
    assert sum(sum(one.samples_ns) for one in found) < elapsed_ns  # nothing is counted twice, all in ns
    assert fast.n >= 44
    assert set(fast.blocks) == set(slow.blocks) == {0, 1}
    assert fast.percentile(0.9).value_ns is not None

    whole = by["fast", "end-to-end", "single-stream"]
    assert min(whole.samples_ns) > min(fast.samples_ns)  # decoding a PNG comes on top
    offline = by["fast", "compute", "offline"]
    assert offline.batch == 4
    assert min(offline.samples_ns) >= 8_000_000
    assert offline.images_per_s == pytest.approx(4 * offline.n / (sum(offline.samples_ns) / 1e9))
    assert offline.images_per_s <= 500  # at 2 ms an image

    cold = by["fast", "cold-start", "once"]
    assert (cold.n, cold.blocks, cold.batch) == (2, [0, 1], 1)
    assert min(cold.samples_ns) > cold.load_s * 1e9
    assert "2 cold starts (needs 3)" in cold.reasons
    assert not cold.valid

    assert fast.rss_bytes > 10 << 20
    assert fast.pss_bytes is None or 0 < fast.pss_bytes <= fast.rss_bytes
    assert fast.provider == "toy"
    assert fast.subject_digest == "digest-fast"
    assert fast.sample_set_digest == sample_set_digest(samples)
    assert fast.environment["usable_cores"] >= 1
    assert fast.session == slow.session != ""
    assert fast.runtime == "toy_runtimes:fast"
    assert fast.driver.startswith("LoadGen ")
    assert 0 < fast.cpu_ns < sum(fast.samples_ns)  # it sleeps more than it computes
    assert all(one.valid == (not one.reasons) for one in found)

    blocks = [text for text, _, _ in told if "compute, single-stream" in text]
    assert blocks == [  # A B, then B A
        "fast: compute, single-stream, block 1 of 2",
        "slow: compute, single-stream, block 1 of 2",
        "slow: compute, single-stream, block 2 of 2",
        "fast: compute, single-stream, block 2 of 2",
    ]
    total = 2 * (1 + 2 * 4 + 2)
    assert [(done, of) for _, done, of in told] == [(index, total) for index in range(total)]
    assert no_children_left()


def test_each_block_starts_one_candidate_further_on():
    assert [turns(3, block) for block in range(4)] == [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]]


@pytest.mark.slow
def test_threads_reach_the_runtime_and_the_maths_libraries(candidate, samples):
    settings = Settings(**{**_fields(SHORT), "threads": 1})
    one, _ = measure([candidate("threads_in_label")], samples, settings).measurements
    assert one.provider == "threads=1 omp=1"
    assert one.threads == 1


@pytest.mark.slow
def test_death_of_a_worker_ends_the_run_with_its_last_words(candidate, samples):
    with pytest.raises(UnfitEnvironmentError, match=r"(?s)'dies'.*status 3.*the spring broke"):
        measure([candidate("instant"), candidate("dies")], samples, SHORT)
    assert no_children_left()


@pytest.mark.slow
def test_exception_in_the_middle_of_a_block_reaches_the_user(candidate, samples):
    with pytest.raises(
        UnfitEnvironmentError, match=r"(?s)'raises'.*status 1.*the spring broke after 40 calls"
    ):
        measure([candidate("raises")], samples, SHORT)


@pytest.mark.slow
def test_runtime_that_does_not_open_is_named(candidate, samples):
    with pytest.raises(UnfitEnvironmentError, match=r"(?s)'wont_open'.*its spring is broken"):
        measure([candidate("wont_open")], samples, SHORT)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("toy", "kind", "sentence"),
    [
        ("refuses", UsageError, "the toy takes no coal; give it a battery"),
        ("damaged", IntegrityError, "toy.onnx: is damaged; export it again"),
        (
            "full_disk",
            UnfitEnvironmentError,
            "files of the measurement: No space left on device; make room there and start again; "
            "what was finished is kept",
        ),
    ],
)
def test_an_error_for_the_user_in_a_worker_is_its_sentence_alone(candidate, samples, toy, kind, sentence):
    with pytest.raises(kind) as told:
        measure([candidate(toy)], samples, SHORT)
    assert type(told.value) is kind
    assert str(told.value) == f"measuring {toy!r}: {sentence}"
    assert no_children_left()


def test_a_full_disk_under_the_job_is_one_sentence(candidate, samples, tmp_path):
    one = msgspec.structs.replace(candidate("fast"), labels={"label": ["dark" * 1000]})
    with pytest.raises(UnfitEnvironmentError, match=f"^{tmp_path}: File too large"), no_room():
        Child(job(one, samples), tmp_path, python=sys.executable)


@pytest.mark.slow
def test_a_disk_that_a_worker_fills_is_told_though_its_last_words_lie_there(candidate, samples, tmp_path):
    with tiny_disk(tmp_path / "disk", "64k") as disk:
        one = msgspec.structs.replace(candidate("fills_the_disk"), source=str(disk / "big"))
        with Child(job(one, samples), disk, python=sys.executable) as child:
            with pytest.raises(UnfitEnvironmentError, match="^measuring 'fills_the_disk': files of the"):
                child.receive(Ready, seconds=60)


def test_a_place_without_new_files_is_one_sentence(candidate, samples, tmp_path, monkeypatch):
    def refuse(*words, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    one = job(candidate("fast"), samples)
    for name in ("mkstemp", "TemporaryFile"):
        with monkeypatch.context() as patch:
            patch.setattr(tempfile, name, refuse)
            with pytest.raises(UnfitEnvironmentError, match="No space left"):
                Child(one, tmp_path, python=sys.executable)
    monkeypatch.setattr(tempfile, "TemporaryDirectory", refuse)
    with pytest.raises(UnfitEnvironmentError, match="^temporary files: No space left"):
        measure([candidate("fast")], samples, SHORT)


def test_a_runtime_of_no_name_is_refused_before_a_worker_starts(candidate, samples):
    told = []
    one = msgspec.structs.replace(candidate("fast"), runtime="ort-cpo")
    with pytest.raises(UsageError, match="unknown runtime 'ort-cpo'; did you mean 'ort-cpu'"):
        measure([one], samples, SHORT, progress=lambda *step: told.append(step))
    assert told == []


@pytest.mark.slow
def test_garbage_in_the_protocol_is_refused(candidate, samples):
    with pytest.raises(UnfitEnvironmentError, match="'babbles'.*this is not JSON"):
        measure([candidate("babbles")], samples, SHORT)
    assert no_children_left()


@pytest.mark.slow
def test_interruption_leaves_no_worker_behind(candidate, samples):
    def interrupt(what, done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure([candidate("instant"), candidate("slow")], samples, SHORT, progress=interrupt)
    assert no_children_left()


@pytest.mark.slow
def test_what_was_measured_before_ctrl_c_is_kept_where_that_is_wanted(candidate, samples):
    def interrupt(what, done, total):
        if "block 2 of 2" in what:
            raise KeyboardInterrupt

    found = measure([candidate("instant")], samples, SHORT, progress=interrupt, keep_stopped=True)
    assert found.stopped == "stopped after block 1 of 2, which is kept"
    assert [set(one.blocks) for one in found.measurements] == [{0}, {0}]
    assert no_children_left()


@pytest.mark.slow
def test_what_is_invalid_is_measured_again_by_itself(candidate, samples, monkeypatch):
    told = []

    def repeated():
        return [what for what in told if "again" in what]

    monkeypatch.setattr(
        "compactor_runtimes.measure.rounds.sample_reasons",
        lambda scope, samples_ns, blocks: ["made up"] if scope == "compute" and not repeated() else [],
    )
    monkeypatch.setattr("compactor_runtimes.measure.rounds.machine_reasons", lambda conditions: [])
    found = measure(
        [candidate("instant"), candidate("fast")],
        samples,
        SHORT,
        progress=lambda what, *_: told.append(what),
        again=1,
    ).measurements
    assert repeated() == [f"instant: compute, single-stream, block {n} of 2 again (1)" for n in (1, 2)]
    sessions = {one.subject: one.session for one in found if one.scope == "compute"}
    whole = {one.session for one in found if one.scope == "end-to-end"}
    assert len(whole) == 1
    assert sessions["instant"] not in whole  # its blocks are no pairs of the others' any more


@pytest.mark.slow
def test_a_server_finds_the_highest_rate_that_holds_its_bound(candidate, samples):
    """Of a query of 2 ms and more, 90% within 20 ms: less than 500 a second, and a good part of that."""
    settings = Settings(
        profile="smoke", scenarios=["server"], cold_starts=0, bound=Bound(q=0.9, ns=20_000_000)
    )
    (one,) = measure([candidate("fast")], samples, settings).measurements
    assert (one.scope, one.scenario, one.bound) == ("end-to-end", "server", settings.bound)
    assert 150 < one.rate_per_s < 500
    found = one.percentile(0.9)
    assert found.upper_ns <= 20_000_000
    impossible = Settings(
        profile="smoke", scenarios=["server"], cold_starts=0, bound=Bound(q=0.9, ns=500_000)
    )
    (one,) = measure([candidate("fast")], samples, impossible).measurements
    assert one.rate_per_s is None
    assert not one.valid
    assert one.reasons[0].startswith("no rate holds p90 within 500 µs: one query by itself takes")


def test_a_server_without_a_bound_is_refused(candidate, samples):
    with pytest.raises(UsageError, match="say one, such as --bound p99=50ms"):
        measure([candidate("fast")], samples, Settings(scenarios=["server"]))


@pytest.mark.slow
def test_cold_start_answers_with_the_label_of_the_first_sample(candidate, samples, tmp_path):
    with Child(job(candidate("fast"), samples), tmp_path, python=sys.executable, cold_start=True) as child:
        assert child.receive(FirstAnswer, seconds=60).label == "dark"
        assert child.receive(MemoryUse, seconds=60).rss_peak_bytes > 10 << 20


@pytest.mark.slow
def test_idle_worker_uses_no_cpu_and_silence_has_a_deadline(candidate, samples, tmp_path):
    with Child(job(candidate("fast"), samples), tmp_path, python=sys.executable) as child:
        child.receive(Ready, seconds=60)
        process = psutil.Process(child._process.pid)
        before = process.cpu_times()
        with pytest.raises(UnfitEnvironmentError, match="gave no answer in 0 s"):
            child.receive(MemoryUse, seconds=0.4)
        after = process.cpu_times()
    assert after.user + after.system - before.user - before.system <= 0.05
    assert not psutil.pid_exists(process.pid)


def test_nothing_to_measure_is_refused(candidate, samples):
    with pytest.raises(UsageError, match="at least one and every name once"):
        measure([], samples, SMOKE)
    with pytest.raises(UsageError, match="every name once"):
        measure([candidate("fast"), candidate("fast")], samples, SMOKE)
    with pytest.raises(UsageError, match="no raw samples"):
        measure([candidate("fast")], [], SMOKE)


def test_digest_depends_on_contents_and_order_not_on_names(tmp_path):
    paths = [tmp_path / name for name in ("a", "b", "c")]
    for path, text in zip(paths, ("x", "y", "x"), strict=True):
        path.write_text(text)
    a, b, c = paths
    assert sample_set_digest([a, b]) == sample_set_digest([c, b])
    assert sample_set_digest([a, b]) != sample_set_digest([b, a])


def job(one, samples):
    return Job(
        candidate=one,
        raw_samples=[str(path) for path in samples],
        threads=None,
        batches=[1, 4],
    )


def _fields(settings):
    return {name: getattr(settings, name) for name in settings.__struct_fields__}
