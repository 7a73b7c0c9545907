"""The check that golden cases are answered by the very code that serves: one row an artifact.

Raw inputs go through `Model.predict`, all together. One by one their outputs are the stored ones within the
artifact's limits, where preprocessing gives the stored feeds exactly (`checks.py`, rule 1, judges the rest).
"""

from collections.abc import Sequence
from math import nan

import numpy as np
from msgspec.structs import replace

from compactor_runtimes.backends import Runtime
from compactor_runtimes.bundle.manifest import Artifact
from compactor_runtimes.bundle.open import Bundle
from compactor_runtimes.errors import CompactorError, UsageError
from compactor_runtimes.golden.findings import Case, Finding, Row, compare, summarise
from compactor_runtimes.predict.images import feeds_from
from compactor_runtimes.predict.limits import OF_DATA
from compactor_runtimes.predict.model import Model


def check_served(bundle: Bundle, artifact: Artifact, runtime: Runtime, cases: Sequence[Case]) -> list[Row]:
    """Answer the golden cases as serving does; no row for a bundle that `Model` does not take."""
    try:
        model = Model(bundle, artifact, runtime, limits=OF_DATA)
    except UsageError:
        return []
    contents = [bundle.read(each.case.raw) for each in cases]
    to_feeds = feeds_from(bundle.manifest.pre, bundle.path)
    findings = []
    try:
        answered = len(model.predict(contents))
        detail = f"{answered} answers found, {len(cases)} expected"
        findings.append(Finding(answered == len(cases), float(abs(answered - len(cases))), 0.0, detail))
        for content, each in zip(contents, cases, strict=True):
            feeds = to_feeds([content])
            if all(np.array_equal(feeds[name], stored) for name, stored in each.feeds.items()):
                found, what = model.outputs(content), f"case {each.case.id!r} as served"
                findings += [
                    compare(found[name], stored, artifact.limits[name], f"{what}, output {name!r}")
                    for name, stored in each.outputs.items()
                ]
    except CompactorError as error:
        findings.append(Finding(False, nan, 0.0, str(error)))
    return [replace(summarise(artifact.name, "served", findings), n=len(cases))]
