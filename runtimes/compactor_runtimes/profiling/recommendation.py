"""What to load on this machine, by a policy; placeholder until merged."""

from collections.abc import Sequence

from compactor_runtimes.measure.machine_profile import Policy, ProfileSubject, Recommendation
from compactor_runtimes.measure.measurement import Measurement


def recommend(
    rows: Sequence[ProfileSubject], measurements: Sequence[Measurement], policy: Policy
) -> Recommendation:
    """Recommend."""
    return Recommendation(policy=policy, subject="", why="")
