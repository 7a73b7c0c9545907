"""What must hold before a subject is timed: its golden cases on this machine, or its agreement with fp32."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compactor_runtimes.backends import Runtime
from compactor_runtimes.bundle.manifest import Artifact, Check, EmbeddingPost
from compactor_runtimes.bundle.open import Bundle
from compactor_runtimes.bundle.opening import open_artifact
from compactor_runtimes.errors import MissingDependency
from compactor_runtimes.golden.checks import check_artifact, check_preprocessing
from compactor_runtimes.golden.findings import Case, Row
from compactor_runtimes.predict.model import Model
from compactor_runtimes.stats.metrics import lower_bound_one_sided, samples_needed

if TYPE_CHECKING:
    from compactor_runtimes.predict.decode import Raw

LEAST_AGREEMENT = 0.99
SAME_DIRECTION = 0.999


def preprocessing_checks(bundle: Bundle, cases: list[Case]) -> list[Check]:
    """Check that raw inputs become the arrays that were stored.

    Raises:
        MissingDependency: what decodes them is not installed.
    """
    return [_check(check_preprocessing(bundle, pre, cases)) for pre in bundle.manifest.pre]


def golden_checks(
    bundle: Bundle, artifact: Artifact, runtime: str, cases: list[Case], *, threads: int | None, trust: bool
) -> list[Check]:
    """Run the golden cases of an artifact on a runtime; see `golden/checks.py`.

    Raises:
        CompactorError: the runtime does not open it here.
    """
    with closing(open_artifact(bundle, artifact, runtime=runtime, threads=threads, trust=trust)) as opened:
        return [_check(row) for row in check_artifact(opened, bundle.manifest, artifact, cases)]


def agreement_check(
    bundle: Bundle, artifact: Artifact, runtime: str, samples: Sequence[Path], *, threads: int | None
) -> Check:
    """Judge a runtime that computes in another precision by its answers: 95% lower bound of equal ones.

    The reference is the same artifact on its default runtime. Answers are equal if all that is no
    probability is; embeddings if their cosine is at least 0.999.
    """
    name = f"agreement with {artifact.name} on its default runtime"
    raws: list[Raw] = [path.read_bytes() for path in samples]
    answers = []
    for each in (None, runtime):
        opened: Runtime = open_artifact(bundle, artifact, runtime=each, threads=threads)
        with Model(bundle, artifact, opened) as model:
            answers.append([model.predict(raw) for raw in raws])
    vectors = any(isinstance(post, EmbeddingPost) for post in bundle.manifest.post)
    same = [
        _cosine(a.vector, b.vector) >= SAME_DIRECTION
        if vectors
        else _words(a.to_dict()) == _words(b.to_dict())
        for a, b in zip(*answers, strict=True)
    ]
    k, n = sum(same), len(same)
    bound = lower_bound_one_sided(k, n)
    detail = f"{k} of {n} answers agree, 95% lower bound {100 * bound:.2f}%"
    if bound < LEAST_AGREEMENT and k / n >= LEAST_AGREEMENT:
        needed = samples_needed(LEAST_AGREEMENT)
        detail += f"; undecided: {needed} equal answers would do, give more --samples"
    return Check(
        name=name,
        passed=bound >= LEAST_AGREEMENT,
        value=bound,
        observed=k / n,
        limit=LEAST_AGREEMENT,
        n=n,
        detail=detail,
    )


def can_decode(bundle: Bundle, cases: list[Case]) -> tuple[list[Check], str]:
    """Check preprocessing; or say why raw samples cannot be decoded here."""
    try:
        return preprocessing_checks(bundle, cases), ""
    except MissingDependency as error:
        return [], str(error)


def _check(row: Row) -> Check:
    return Check(
        name=row.check,
        passed=row.passed,
        value=row.value,
        limit=row.limit,
        n=row.n or None,
        detail=row.detail,
    )


def _words(value: Any) -> Any:
    """An answer without its probabilities."""
    if isinstance(value, Mapping):
        return {key: _words(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_words(one) for one in value]
    return None if isinstance(value, float) else value


def _cosine(a: Any, b: Any) -> float:
    import numpy as np

    return float(np.dot(a, b) / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-30))
