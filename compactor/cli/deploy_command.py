"""`compactor deploy BUNDLE --to TARGET`."""

from pathlib import Path

import click

from compactor.cli.output_options import JSON


@click.command("deploy")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--to", "target", required=True, help="docker, systemd, triton or web.")
@click.option(
    "--output", type=click.Path(path_type=Path), help="A new or empty folder; absent: ./NAME-TARGET."
)
@click.option("--name", help="What the model is called there; absent: made of the bundle's name.")
@JSON
def command(bundle: Path, target: str, output: Path | None, name: str | None, as_json: bool) -> None:
    """Write a folder that serves a bundle: a container, a service, a model repository or a web page.

    \b
    docker    Dockerfile, pinned packages, our wheel, the bundle
    systemd   a hardened unit with the same, on 127.0.0.1
    triton    a model repository: the graph, and the whole bundle as a Python model
    web       a page that computes in the browser, without a server of its own

    docker and systemd ask the package index that pip is set to, web the registry that npm is set to.
    """  # noqa: D301  # click reads the backspace character as: keep the lines that follow
    from compactor.cli import emit_json
    from compactor_exporters.deploy import deploy

    done = deploy(bundle, target, output=output, name=name)
    if as_json:
        emit_json({"folder": done.folder, "name": done.name, "files": done.files})
    else:
        click.echo(
            f"written: {done.folder} ({len(done.files)} files); how to use it: {done.folder / 'README.md'}"
        )
