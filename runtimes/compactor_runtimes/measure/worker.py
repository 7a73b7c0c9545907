"""The measured process: opens one candidate, then answers commands on stdin with one JSON line each.

Started as `python -m compactor_runtimes.measure.worker JOB.json [--cold-start]`; idle, it sleeps in a read.
"""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic, process_time_ns
from typing import NoReturn

import msgspec

from compactor_runtimes.errors import CompactorError
from compactor_runtimes.measure.measurement import (
    Answer,
    BlockResult,
    Command,
    Dissect,
    FirstAnswer,
    Job,
    Quit,
    ReadMemory,
    Ready,
    RunBlock,
    RunTrial,
)
from compactor_runtimes.measure.memory import History, read_memory
from compactor_runtimes.measure.subject import Subject

Send = Callable[[Answer], None]
SAID = "error: "
"""Begins the last line of stderr of a worker whose exit code is that of an error of ours."""


def serve(subject: Subject, job: Job, commands: Callable[[], bytes], send: Send, history: History) -> None:
    """Answer commands until Quit or the end of input (the parent is gone)."""
    decoder = msgspec.json.Decoder(Command)
    while line := commands():
        command = decoder.decode(line)
        match command:
            case RunBlock():
                send(run_block(subject, job, command))
            case RunTrial():
                send(run_trial(subject, job, command))
            case Dissect():
                from compactor_runtimes.measure.dissect import dissect

                send(dissect(subject, job, command, history))
            case ReadMemory():
                send(read_memory())
            case Quit():
                return


def run_block(subject: Subject, job: Job, command: RunBlock) -> BlockResult:
    """Measure one block."""
    from compactor_runtimes.measure.load import run_load

    work, size = subject.work(command.scope), command.batch
    begin_ns = 0

    def started() -> None:
        nonlocal begin_ns
        begin_ns = process_time_ns()

    load = run_load(
        lambda index: work(index, size),
        scenario=command.scenario,
        num_samples=subject.count,
        budget=command.budget,
        first=command.first,
        started=started,
    )
    spent_ns = process_time_ns() - begin_ns
    return BlockResult(id=command.id, samples_ns=load.samples_ns, complaints=load.complaints, cpu_ns=spent_ns)


def run_trial(subject: Subject, job: Job, command: RunTrial) -> BlockResult:
    """Try one rate of arrivals."""
    from compactor_runtimes.measure.load import run_server

    work = subject.work(command.scope)
    samples_ns = run_server(
        lambda index: work(index, 1),
        num_samples=subject.count,
        rate_per_s=command.rate_per_s,
        queries=command.queries,
        q=command.bound.q,
        bound_ns=command.bound.ns,
        seed=command.id,
    )
    return BlockResult(id=command.id, samples_ns=samples_ns, complaints=[])


def main(arguments: list[str]) -> None:
    """Run one job; an error that is meant for the user is one line on stderr and the exit code."""
    try:
        run_job(arguments)
    except CompactorError as error:
        end_with(error)
    except Exception as error:
        from compactor_runtimes.files import refusal

        refused = refusal(error, "files of the measurement")
        if refused is None:
            raise
        end_with(refused)


def end_with(error: CompactorError) -> NoReturn:
    """Say the sentence as the last line of stderr and exit with its code."""
    with suppress(OSError):  # stderr is a file on the disk that may be full
        sys.stderr.write(f"\n{SAID}{' '.join(str(error).split())}\n")
        sys.stderr.flush()
    sys.exit(error.exit_code)


def run_job(arguments: list[str]) -> None:
    """Run one job, as a server or as a cold start."""
    # Ctrl-C reaches the whole foreground group; only the parent decides when a worker ends
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from compactor_runtimes.measure.load import driver

    # libraries print to fd 1 when they like: the protocol keeps the real one to itself
    channel = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)

    def send(answer: Answer) -> None:
        line = memoryview(msgspec.json.encode(answer) + b"\n")
        while line:
            line = line[channel.write(line) :]

    job = msgspec.json.decode(Path(arguments[0]).read_bytes(), type=Job)
    history: History = [(monotonic(), read_memory())]
    subject = Subject(job)
    history.append((monotonic(), read_memory()))
    if "--cold-start" in arguments:
        subject.read(job.raw_samples[:1], at_least=1)
        label = subject.end_to_end(0, 1)[0]
        send(FirstAnswer(label=label, load_s=subject.load_s, provider=subject.runtime.provider))
        send(read_memory())
    else:
        if job.candidate.fed is None:
            subject.read(job.raw_samples, at_least=max(job.batches))
        subject.rehearse(job.batches)
        history.append((monotonic(), read_memory()))
        send(Ready(load_s=subject.load_s, provider=subject.runtime.provider, driver=driver()))
        serve(subject, job, sys.stdin.buffer.readline, send, history)
    subject.runtime.close()


if __name__ == "__main__":
    main(sys.argv[1:])
