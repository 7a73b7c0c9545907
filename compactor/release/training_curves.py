"""How the stages trained, for the report: the losses and select figures of every epoch."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compactor.cache.folder import DONE
from compactor_runtimes.errors import IntegrityError
from compactor_runtimes.report import Curve

SELECT = "select_"


def curves(stage_folders: Mapping[str, Path]) -> list[Curve]:
    """Read how each stage trained from its folder's `done.json`; a stage without epochs is left out.

    Raises:
        IntegrityError: a folder's record is missing or damaged.
    """
    found = []
    for stage, folder in stage_folders.items():
        path = folder / DONE
        try:
            history = json.loads(path.read_text(encoding="utf-8"))["history"]
            if history:
                found.append(_curve(stage, history))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise IntegrityError(
                f"{path}: is not the record of a trained stage ({error!r}); delete its folder and run again"
            ) from error
    return found


def _curve(stage: str, history: list[dict[str, Any]]) -> Curve:
    """Gather the series of all epochs; a number that an epoch lacks is None."""
    terms = dict.fromkeys(name for record in history for name in record.get("terms", {}))
    select = dict.fromkeys(name for record in history for name in record if name.startswith(SELECT))
    return Curve(
        stage=stage,
        epochs=[int(record["epoch"]) for record in history],
        terms={name: [_finite(record.get("terms", {}).get(name)) for record in history] for name in terms},
        select={
            name.removeprefix(SELECT): [_finite(record.get(name)) for record in history] for name in select
        },
    )


def _finite(value: float | None) -> float | None:
    """JSON has no NaN: what is not finite is no number."""
    return float(value) if value is not None and math.isfinite(value) else None
