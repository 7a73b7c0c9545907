"""`compactor sign BUNDLE --key KEY`."""

from pathlib import Path

import click


@click.command("sign")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--key",
    required=True,
    type=click.Path(path_type=Path),
    help="Your private key: on an elliptic curve, in PEM.",
)
@click.option(
    "--password-file", type=click.Path(path_type=Path), help="A file whose first line opens the key."
)
def command(bundle: Path, key: Path, password_file: Path | None) -> None:
    """Sign a bundle, so that `load(..., trusted_keys=[...])` takes it and refuses all others.

    Every file is checked first. The manifest, which holds the digest of every file, is signed with OpenSSF's
    model-signing; the signature lies beside it. Nothing is sent anywhere. A pair of keys is made by:

    \b
    openssl ecparam -name prime256v1 -genkey -noout -out key.pem
    openssl ec -in key.pem -pubout -out key.pub
    """  # noqa: D301  # click reads the backspace character as: keep the lines that follow
    from compactor_runtimes.bundle.open import MANIFEST, open_bundle
    from compactor_runtimes.bundle.signature import SIGNATURE, sign
    from compactor_runtimes.utf8 import read_utf8

    opened = open_bundle(bundle)
    password = None if password_file is None else read_utf8(password_file).split("\n")[0]
    sign((opened.path / MANIFEST).read_bytes(), opened.path / SIGNATURE, key=key, password=password)
    click.echo(f"signed: {opened.path / SIGNATURE}")
