"""The check that golden cases are answered by the very code that serves: one row an artifact.

All raw inputs go through `Model.predict` together; what each answer must be is judged in `decoded.py`.
"""

from collections.abc import Sequence
from math import nan

from compactor_runtimes.backends import Runtime
from compactor_runtimes.bundle.manifest import Artifact
from compactor_runtimes.bundle.open import Bundle
from compactor_runtimes.errors import CompactorError, InputError, UsageError
from compactor_runtimes.golden.findings import Case, Finding, Row, summarise
from compactor_runtimes.predict.limits import OF_DATA
from compactor_runtimes.predict.model import Model


def check_served(bundle: Bundle, artifact: Artifact, runtime: Runtime, cases: Sequence[Case]) -> list[Row]:
    """Ask for the answers to all golden cases; no row for a bundle that `Model` does not take."""
    try:
        model = Model(bundle, artifact, runtime, limits=OF_DATA)
    except UsageError:
        return []
    try:
        answers = model.predict([bundle.read(each.case.raw) for each in cases], on_error="return")
    except CompactorError as error:
        findings = [Finding(False, nan, 0.0, str(error)) for _ in cases]
    else:
        findings = [
            Finding(not isinstance(one, InputError), 0.0, 0.0, f"case {each.case.id!r}: {_said(one)}")
            for each, one in zip(cases, answers, strict=True)
        ]
    return [summarise(artifact.name, "served", findings)]


def _said(answer: object) -> str:
    return str(answer) if isinstance(answer, InputError) else "answered"
