"""The run's journal: one JSON object a line, appended as things happen."""

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from compactor_runtimes.files import writing


class Journal:
    """Append events to a file; a path of None keeps nothing (other ranks)."""

    def __init__(self, path: Path | None) -> None:
        """Open the journal at `path`."""
        self.path = path

    def write(self, event: str, **fields: Any) -> None:
        """Append one event with the time of day in seconds since 1970: a whole line or nothing."""
        if self.path is None:
            return
        line = json.dumps({"event": event, "time_s": round(time.time(), 3), **fields}) + "\n"
        with writing(self.path):
            before = self.path.stat().st_size if self.path.exists() else 0
            try:
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(line)
            except OSError:
                with suppress(OSError):  # the first error is the one to tell
                    os.truncate(self.path, before)
                raise
