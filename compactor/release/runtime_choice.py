"""What `runtime: auto` takes for a teacher: the fastest here of those that are near enough to torch."""

from compactor.models.student import Student
from compactor.records import TeacherRuntimeName
from compactor.release.exported_teachers import why_not
from compactor.release.runtime_distance import speeds
from compactor.release.runtime_memory import Choice
from compactor.release.teacher_runtimes import BF16, GRAPHS, TORCH, Moving
from compactor_runtimes.errors import CompactorError

PROBED = 128  # rows of the batch that is timed, at most


def choose(moving: Moving, *, batch_size: int) -> Choice:
    """Choose, or find what was chosen here within the same bounds.

    On a GPU torch alone is tried, for graphs would be computed by the CPU.

    Args:
        moving: the teacher.
        batch_size: of its forwards.
    """
    entry, before = moving.entry, moving.memory.choice
    if before is not None and (before.max_kl, before.min_agreement) == (entry.max_kl, entry.min_agreement):
        return before
    near: dict[TeacherRuntimeName, Student] = {}
    told: dict[TeacherRuntimeName, str] = {}
    for name in (TORCH, BF16, *(GRAPHS if moving.place.device.type == "cpu" else ())):
        try:
            teacher = moving.open(name)
            known = moving.known(name, teacher)
        except (CompactorError, RuntimeError, ValueError) as error:  # others can teach all the same
            told[name] = f"is not to be had: {why_not(error)}"
            continue
        found = known.distance
        told[name] = f"mean KL {found.kl:.2g} nat, {100 * found.agreement:.2f}% the same top class"
        if moving.is_near(found):
            near[name] = teacher
        else:
            told[name] += ", too far"
    moving.place.tell("time the runtimes")
    rows = moving.place.data.select.rows[: min(PROBED, batch_size)]
    batch = moving.place.task.batch(moving.place.data.select, rows, None).to(moving.place.device)
    rates = speeds({name: model.to(moving.place.device) for name, model in near.items()}, batch)
    chosen = max(rates, key=lambda name: rates[name])
    for name, rate in rates.items():
        told[name] = f"{rate:,.0f} samples/s, {told[name]}{', chosen' if name == chosen else ''}"
    moving.memory.choice = Choice(
        runtime=chosen,
        max_kl=entry.max_kl,
        min_agreement=entry.min_agreement,
        told=[f"teacher {entry.model} on {name}: {one}" for name, one in told.items()],
    )
    moving.keep()
    return moving.memory.choice
