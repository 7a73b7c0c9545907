"""The run's journal: one JSON object a line, appended as things happen."""

import json
import time
from pathlib import Path
from typing import Any

from compactor_runtimes.files import writing


class Journal:
    """Append events to a file; a path of None keeps nothing (other ranks)."""

    def __init__(self, path: Path | None) -> None:
        """Open the journal at `path`."""
        self.path = path

    def write(self, event: str, **fields: Any) -> None:
        """Append one event with the time of day in seconds since 1970."""
        if self.path is None:
            return
        with writing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"event": event, "time_s": round(time.time(), 3), **fields}) + "\n")
