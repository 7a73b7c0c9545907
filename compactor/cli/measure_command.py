"""`compactor measure BUNDLE...`."""

import re
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from compactor.cli.output_options import JSON, QUIET

if TYPE_CHECKING:
    from compactor_runtimes.measure.measurement import ProfileName, Scenario
    from compactor_runtimes.measure.wish import Policy

PROFILE_FILE = "profile.json"
SCENARIOS = ("single-stream", "offline", "server")
PROFILES = ("smoke", "quick", "standard", "long")
HERE = ("samples", "out", "on", "wheels", "ssh_config", "keep", "as_json", "quiet")
"""Parameters of this machine; all others hold where it is measured."""
POLICIES = ("latency", "size", "memory", "accuracy")


@click.command("measure")
@click.argument("bundles", nargs=-1, required=True, metavar="BUNDLE...", type=click.Path(path_type=Path))
@click.option(
    "--runtime",
    "runtimes",
    multiple=True,
    metavar="NAME",
    help="What runs every artifact that it can, such as ort-cpu or openvino; may be repeated. Default: each "
    "artifact's own. `compactor doctor` lists them.",
)
@click.option(
    "--artifact",
    "artifacts",
    multiple=True,
    metavar="NAME",
    help="Which artifacts; may be repeated. Default: all that ship.",
)
@click.option(
    "--scenario",
    "scenarios",
    multiple=True,
    type=click.Choice(SCENARIOS),
    help="MLPerf's load shapes; may be repeated. Default: single-stream and offline.",
)
@click.option("--bound", metavar="P=TIME", help="Of --scenario server: the bound to hold, such as p99=50ms.")
@click.option(
    "--profile",
    type=click.Choice(PROFILES),
    default="quick",
    show_default=True,
    help="How long: about 1 s, 6 s, 30 s or 4 minutes a subject.",
)
@click.option("--threads", type=click.IntRange(min=1), help="Threads of each runtime; absent: its choice.")
@click.option("--batch", type=click.IntRange(min=1), help="Samples in a batch of the offline scenario: 32.")
@click.option(
    "--sweep",
    "sweeps",
    multiple=True,
    metavar="KEY=A,B,...",
    help="Try each value of threads, batch or spinning (on, off); may be repeated.",
)
@click.option(
    "--samples",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Images, folders of images, or text files of a text a line. Default: the bundle's golden cases.",
)
@click.option(
    "--choose",
    "policy",
    type=click.Choice(POLICIES),
    default="latency",
    show_default=True,
    help="What the recommendation goes by.",
)
@click.option(
    "--wait-quiet",
    type=click.FloatRange(min=0),
    is_flag=False,
    flag_value=300.0,
    metavar="[SECONDS]",
    help="Wait until nothing else uses the machine, 300 s if no time is given.",
)
@click.option(
    "--again",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="How often what came out INVALID is measured again, by itself.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where profile.json and its pages go. Default: profiles/NAME/TIME.",
)
@click.option("--trust", is_flag=True, help="Run the engines in BUNDLE too; an engine is code.")
@click.option(
    "--on",
    metavar="TARGET",
    help="Measure on another machine, ssh://[USER@]HOST[:PORT]: bundles and Compactor go there, the profile "
    "comes back.",
)
@click.option(
    "--wheels",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Of --on: wheels of all that is needed, for a machine without a network.",
)
@click.option(
    "--ssh-config", type=click.Path(path_type=Path), metavar="FILE", help="Of --on: instead of ssh's own."
)
@click.option("--keep", is_flag=True, help="Of --on: leave there what was made there.")
@JSON
@QUIET
@click.pass_context
def command(
    context: click.Context,
    bundles: tuple[Path, ...],
    runtimes: tuple[str, ...],
    artifacts: tuple[str, ...],
    scenarios: "tuple[Scenario, ...]",
    bound: str | None,
    profile: "ProfileName",
    threads: int | None,
    batch: int | None,
    sweeps: tuple[str, ...],
    samples: tuple[Path, ...],
    policy: "Policy",
    wait_quiet: float | None,
    again: int,
    out: Path | None,
    trust: bool,
    on: str | None,
    wheels: Path | None,
    ssh_config: Path | None,
    keep: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure bundles on the machine that will run them, and say what to load there.

    Every artifact passes its golden cases on every runtime before it is timed. Subjects take turns in blocks,
    each in a fresh process. What the machine did besides is watched: noise makes a measurement INVALID, with
    the reason. Needs the base package and one runtime, no torch.

    profile.json holds every raw sample. `load(BUNDLE, profile="profile.json")` takes its recommendation over,
    `compactor compare OLD NEW --fail "p90>+5%"` guards it, `compactor report merge A B` joins machines.

    \b
    compactor measure runs/digits/latest/bundle
    compactor measure BUNDLE --runtime ort-cpu --runtime openvino
    compactor measure BUNDLE --sweep threads=1,2,4 --sweep batch=1,8,32 --sweep spinning=on,off
    compactor measure BUNDLE --scenario server --bound p99=20ms --profile standard --wait-quiet
    compactor measure BUNDLE --on ssh://pi@192.168.1.7
    """  # noqa: D301  # click reads the backspace character as: keep the lines that follow
    from compactor.cli import progress_reporter, result_console
    from compactor.cli.words import words_given
    from compactor.version import VERSION
    from compactor_runtimes.elsewhere.errand import Errand
    from compactor_runtimes.elsewhere.target import measure_there
    from compactor_runtimes.errors import InterruptedRun, UsageError
    from compactor_runtimes.measure.measurement import Settings
    from compactor_runtimes.measure.profile_file import write_profile
    from compactor_runtimes.measure.wish import Wish
    from compactor_runtimes.profiling.bounds import parse_bound
    from compactor_runtimes.profiling.profile import profile_bundles, require_golden
    from compactor_runtimes.profiling.subjects import Wanted
    from compactor_runtimes.profiling.sweep import parse_sweep
    from compactor_runtimes.report.draw.profile_pages import render_profile_terminal, write_profile_pages

    sweep = parse_sweep(sweeps)
    _check(
        server=(bound is not None, "server" in scenarios),
        batch=(batch is not None, bool(sweep.batch)),
        threads=(threads is not None, bool(sweep.threads)),
        on=(wheels is not None or ssh_config is not None or keep, on is not None),
    )
    settings = Settings(
        scenarios=[*dict.fromkeys(scenarios)] or ["single-stream", "offline"],
        profile=profile,
        threads=threads,
        offline_batches=sweep.batch or [batch or 32],
        bound=None if bound is None else parse_bound(bound),
        dissect=True,
    )
    if out is not None and (out / PROFILE_FILE).exists():
        raise UsageError(f"{out / PROFILE_FILE}: is there already; give another --out, or remove it")
    again_by = shlex.join(["compactor", *sys.argv[1:]])
    if on is not None:
        errand = Errand(
            bundles,
            words=words_given(context, without=HERE),
            runtimes=runtimes,
            samples=samples,
            command=again_by,
            wheels=wheels,
            ssh_config=ssh_config,
            keep=keep,
        )
        found = measure_there(on, errand, note=progress_reporter(quiet=quiet).note)
    else:
        with progress_reporter(quiet=quiet).bar("measure", 1) as bar:
            found = profile_bundles(
                bundles,
                Wanted([*dict.fromkeys(runtimes)], [*dict.fromkeys(artifacts)], threads, sweep, trust),
                settings,
                samples=samples,
                wish=Wish(by=policy),
                command=again_by,
                tool_version=VERSION,
                wait_quiet_s=wait_quiet,
                again=again,
                progress=lambda what, done, total: bar.at(done, what, total),
            )
    name = re.sub(r"[^\w.-]+", "-", found.subjects[0].bundle).strip(".") or "bundle"
    folder = out or Path("profiles") / name / time.strftime("%Y%m%d-%H%M%S")
    folder.mkdir(parents=True, exist_ok=True)
    write_profile(found, folder / PROFILE_FILE)
    pages = write_profile_pages(found, folder)
    if as_json:
        click.echo((folder / PROFILE_FILE).read_text(encoding="utf-8"))
    else:
        result_console().print(render_profile_terminal(found))
        for page in (folder / PROFILE_FILE, *pages.files):
            click.echo(page)
        if pages.note:
            click.echo(pages.note, err=True)
    require_golden(found)
    if found.stopped:
        raise InterruptedRun(f"{found.stopped}; measure all of it with: {found.command}")


def _check(
    *, server: tuple[bool, bool], batch: tuple[bool, bool], threads: tuple[bool, bool], on: tuple[bool, bool]
) -> None:
    """Refuse options that do not go together; of each pair, whether the one and the other were given."""
    from compactor_runtimes.errors import UsageError

    if server[0] != server[1]:
        raise UsageError(
            "--bound and --scenario server belong together: the highest rate is found that holds the bound, "
            "such as --scenario server --bound p99=50ms"
        )
    if all(batch):
        raise UsageError("--batch and --sweep batch=... exclude each other; list all batches in the sweep")
    if all(threads):
        raise UsageError("--threads and --sweep threads=... exclude each other; list all in the sweep")
    if on == (True, False):
        raise UsageError("--wheels, --ssh-config and --keep belong to --on, which says on which machine")
