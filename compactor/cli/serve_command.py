"""`compactor serve BUNDLE...`."""

from pathlib import Path

import click

from compactor.cli.input_options import FORMATS, LIMITS


@click.command("serve")
@click.argument("bundles", nargs=-1, required=True, metavar="[NAME=]BUNDLE...")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one."
)
@click.option("--artifact", help="Which artifact of each bundle; absent: the recommended one.")
@click.option("--runtime", help="What computes it, as ort-cpu or openvino; absent: the artifact's default.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of the runtime; absent: its default.")
@click.option(
    "--spinning/--no-spinning",
    default=None,
    help="Threads of ONNX Runtime wait by spinning; absent: with one BUNDLE and more than two cores.",
)
@click.option("--trust", is_flag=True, help="Run the engines in BUNDLE too; an engine is code.")
@click.option(
    "--max-batch", type=click.IntRange(min=1), default=32, show_default=True, help="Most inputs of a batch."
)
@click.option(
    "--max-delay-ms",
    type=click.FloatRange(min=0),
    default=2.0,
    show_default=True,
    help="Longest wait for more of a batch; a client that is alone never waits.",
)
@click.option(
    "--queue", type=click.IntRange(min=1), default=256, show_default=True, help="Most inputs that wait."
)
@FORMATS
@LIMITS
@click.option(
    "--bound",
    "bounds",
    multiple=True,
    metavar="NAME=NUMBER",
    help="What a connection may take: body-bytes, answer-seconds, connections and more, as the guide lists.",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    help="A file of tokens, one a line; who sends none of them is refused.",
)
def command(
    bundles: tuple[str, ...],
    host: str,
    port: int,
    artifact: str | None,
    runtime: str | None,
    threads: int | None,
    spinning: bool | None,
    trust: bool,
    max_batch: int,
    max_delay_ms: float,
    queue: int,
    formats: tuple[str, ...],
    limits: tuple[str, ...],
    bounds: tuple[str, ...],
    token_file: Path | None,
) -> None:
    """Serve bundles over HTTP, in the Open Inference Protocol and a simpler one; needs no torch.

    Each bundle is served by the name of its manifest, or as NAME: /models/NAME/predict answers texts or
    images, /v2/models/NAME speaks the Open Inference Protocol, and /v2/models/NAME.graph takes the graph's
    own tensors. /v2/health/ready says 200 once the golden cases of all bundles have passed on this machine; a
    bundle whose cases do not pass ends the server with that exit code. SIGTERM ends it when what has begun is
    answered.

    Logs are lines of JSON on standard error, without inputs; /metrics is for Prometheus.

    \b
    compactor serve runs/digits/latest/bundle
    compactor serve digits=runs/digits/latest/bundle --host 0.0.0.0 --token-file tokens.txt
    """  # noqa: D301  # click reads the backspace character as: keep the lines that follow
    from compactor_runtimes.predict.limits import limits_from
    from compactor_runtimes.server.logs import log_json_lines
    from compactor_runtimes.server.metrics import Metrics
    from compactor_runtimes.server.run import run
    from compactor_runtimes.server.service import Service, named_from
    from compactor_runtimes.server.settings import Gathering, bounds_from, tokens_from

    metrics = Metrics()
    service = Service(
        named_from(bundles),
        gathering=Gathering(max_batch=max_batch, max_delay_s=max_delay_ms / 1e3, queue=queue),
        metrics=metrics,
        artifact=artifact,
        runtime=runtime,
        threads=threads,
        spinning=spinning,
        trust=trust,
        limits=limits_from(limits),
        formats=formats,
    )
    tokens = tokens_from(token_file) if token_file is not None else []
    log_json_lines()
    run(service, metrics, host=host, port=port, bounds=bounds_from(bounds), tokens=tokens)
