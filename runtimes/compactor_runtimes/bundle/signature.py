"""Who made a bundle: a signature of its manifest, which holds the digest of every file.

Written and read by OpenSSF's model-signing with keys that lie on the disk: no network is asked. It
signs a folder that holds `manifest.json` alone; the bytes that were verified are those that are parsed.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compactor_runtimes.errors import IntegrityError, UsageError, needs_extra, one_line
from compactor_runtimes.files import write_whole, writing

SIGNATURE = "manifest.json.sig"
SIGNED = "manifest.json"
MOST_BYTES = 1 << 20


def sign(content: bytes, target: Path, *, key: Path, password: str | None = None) -> None:
    """Sign a manifest.

    Args:
        content: the manifest's bytes.
        target: the signature's file.
        key: a private key on an elliptic curve (PEM).
        password: which opens the key.

    Raises:
        UsageError: no such key, or the password is not its own.
        MissingDependency: the extra `sign` is not installed.
    """
    with needs_extra("sign"):
        from model_signing import signing

    config: Any = signing.Config
    try:
        signer = config().use_elliptic_key_signer(private_key=key, password=password)
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(
            f"{key}: cannot be read as a private key ({one_line(error)}); expected one on an elliptic curve "
            "in PEM, and its password if it has one"
        ) from error
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="compactor-") as name:
        folder, written = Path(name) / "signed", Path(name) / SIGNATURE
        _lay_out(folder, content)
        with writing(written):
            signer.sign(folder, written)
        write_whole(target, written.read_bytes())


def check_signature(content: bytes, signature: Path, *, keys: Sequence[Path], shown: str) -> None:
    """Check that one of the keys signed a manifest.

    Args:
        content: the manifest's bytes, which the caller goes on with.
        signature: the signature's file.
        keys: public keys (PEM).
        shown: names the bundle in messages.

    Raises:
        IntegrityError: there is no signature, or it is of none of the keys, or of another manifest.
        UsageError: a key that is none.
        MissingDependency: the extra `sign` is not installed.
    """
    with needs_extra("sign"):
        from model_signing import verifying

    config: Any = verifying.Config
    if not signature.is_file() or signature.stat().st_size > MOST_BYTES:
        raise IntegrityError(
            f"{shown}: is not signed (no {SIGNATURE}), and trusted keys were given; get a signed one, or "
            "load it without keys"
        )
    reasons = []
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="compactor-") as name:
        folder, held = Path(name) / "signed", Path(name) / SIGNATURE
        _lay_out(folder, content)
        with writing(held):
            held.write_bytes(signature.read_bytes())
        for key in keys:
            try:
                verifier = config().use_elliptic_key_verifier(public_key=key)
            except (OSError, ValueError, TypeError) as error:
                raise UsageError(
                    f"{key}: cannot be read as a public key ({one_line(error)}); expected one in PEM"
                ) from error
            try:
                verifier.verify(folder, held)
            except Exception as error:  # the library has no narrower word for a signature that is not good
                reasons.append(f"{key.name}: {one_line(error).partition(': [')[0]}")
            else:
                return
    raise IntegrityError(
        f"{shown}: its signature is of none of the trusted keys ({'; '.join(reasons)}); do not use "
        "this bundle, or add the key of whoever signed it"
    )


def _lay_out(folder: Path, content: bytes) -> None:
    with writing(folder):
        folder.mkdir()
        (folder / SIGNED).write_bytes(content)
