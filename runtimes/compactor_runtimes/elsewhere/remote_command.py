"""The one command line that a remote shell is given: it finds a Python and lets it run `there.py`."""

import base64
import shlex
import zlib
from pathlib import Path

from compactor_runtimes.elsewhere import there

PYTHONS = ("python3.13", "python3.12", "python3.11", "python3")
NO_PYTHON = "no-python"

# double quotes alone, one line, no "!": so quoted in single ones it is the same to sh, csh and fish.
# standard input is the work, so nothing but the last program may read of it
_FIND = (
    "for p in {pythons}; do "
    'if "$p" -c "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))" '
    "</dev/null >/dev/null 2>&1; then "
    'exec "$p" -I -c "import base64, sys, zlib; exec(zlib.decompress(base64.b64decode(sys.argv[2])))" '
    '"$1" "$2"; fi; '
    'v=$("$p" --version 2>/dev/null </dev/null) && f="$f$p: $v; "; '
    'done; echo "$1 {no_python} $f"; exit {unfit}'
)


def remote_command(marker: str) -> str:
    """Return the command line; `marker` begins every line that is meant for us."""
    program = base64.b64encode(zlib.compress(Path(there.__file__).read_bytes(), 9)).decode()
    script = _FIND.format(pythons=" ".join(PYTHONS), no_python=NO_PYTHON, unfit=there.UNFIT)
    return shlex.join(["exec", "sh", "-c", script, "sh", marker, program])
