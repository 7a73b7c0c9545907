"""What tables name can be the first of ours that a process imports: no import works only after another."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORGETTING = """
import sys
from importlib import import_module
OWN = ("compactor", "compactor_exporters", "compactor_runtimes")
for name in sys.argv[1:]:
    for known in [one for one in sys.modules if one.partition(".")[0] in OWN]:
        del sys.modules[known]
    import_module(name)
"""


@pytest.mark.slow
def test_every_entry_of_the_tables_can_be_imported_first() -> None:
    from compactor.data.datasets import DATASETS
    from compactor.methods import METHODS
    from compactor.mixers import MIXERS
    from compactor.models import FAMILIES, WRAPPERS
    from compactor.samplers import SAMPLERS
    from compactor.targets import TARGETS
    from compactor.tasks import TASKS
    from compactor_exporters import EXPORTERS
    from compactor_runtimes.backends import RUNTIMES
    from compactor_runtimes.elsewhere.target import SCHEMES
    from compactor_runtimes.predict.answers import CODECS

    tables = (
        METHODS,
        TASKS,
        WRAPPERS,
        FAMILIES,
        SAMPLERS,
        TARGETS,
        MIXERS,
        DATASETS,
        EXPORTERS,
        CODECS,
        SCHEMES,
    )
    entries = [
        *(
            entry
            for row in RUNTIMES.values()
            for entry in (row.opener, row.probe, row.operators)
            if entry is not None
        ),
        *(one for table in tables for one in table.values()),
    ]
    names = sorted({entry.partition(":")[0] for entry in entries})
    done = subprocess.run(
        [sys.executable, "-c", FORGETTING, *names], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
