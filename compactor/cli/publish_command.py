"""`compactor publish FOLDER ADDRESS`: put a finished folder into an object store."""

from pathlib import Path

import click

from compactor.cli.output_options import JSON, QUIET


@click.command("publish")
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("address")
@JSON
@QUIET
def command(folder: Path, address: str, as_json: bool, quiet: bool) -> None:
    """Publish a finished label store, pool, bundle or data set at ADDRESS, whole or not at all.

    ADDRESS is any that fsspec knows: s3://BUCKET/FOLDER, gs://..., file:///... . Recipes and commands take it
    wherever they take a path: data.dataset, labels.store, data.also, weights, bundle:ADDRESS. It is fetched
    once into $COMPACTOR_CACHE, and every hash is checked. Credentials are never part of an address: set them
    where the store's library looks. Stopped, the same command goes on.

    \b
    compactor publish runs/digits-fkd/labels/0123456789ab s3://team/labels/digits
    compactor run digits-fkd --set stages.1.labels.store=s3://team/labels/digits
    """  # noqa: D301  # click reads the backspace character as: keep the lines that follow
    from dataclasses import asdict

    from compactor.cli import emit_json, progress_reporter
    from compactor.label_store.header import UNFINISHED_FILE
    from compactor_runtimes.errors import UsageError
    from compactor_runtimes.objects.publish import publish

    if (folder / UNFINISHED_FILE).is_file():
        raise UsageError(
            f"publish: label store {folder} is not finished; give its `compactor label` again first"
        )
    with progress_reporter(quiet=quiet).bar("publish", 1) as bar:
        found = publish(folder, address, told=lambda done, total: bar.at(done, total=total))
    if as_json:
        emit_json(asdict(found))
        return
    from compactor_runtimes.units import scaled

    sent = f"{found.sent:,} sent now" if found.sent else "all were there"
    click.echo(f"published: {found.address} ({found.files:,} files, {scaled(found.bytes, 'B')}; {sent})")
