"""What to try where a text student is hardly smaller than its teachers because of its embedding tables."""

from collections.abc import Sequence

from compactor.models.parameter_parts import EMBEDDINGS, parameter_parts
from compactor.models.student import Student, parameter_count

LEAST_SMALLER = 2.0  # times; whoever reaches it needs no hint
LEAST_SHARE = 0.4  # of all parameters that are embeddings


def vocabulary_hint(student: Student, teachers: Sequence[Student]) -> list[str]:
    """Name the key that trims the vocabulary, with the numbers; nothing where that would not help.

    Args:
        student: that ships; one whose vocabulary is trimmed already gets no hint.
        teachers: it is compared with the largest; exported ones do not tell their parameters.
    """
    text, parts = student.info.text, parameter_parts(student)
    most = max((parameter_count(teacher) for teacher in teachers), default=0)
    if text is None or text.kept is not None or parts is None or not most:
        return []
    own = sum(parts.values())
    share = parts[EMBEDDINGS] / own
    if most / own >= LEAST_SMALLER or share < LEAST_SHARE:
        return []
    return [
        f"The student has {most / own:.1f} times fewer parameters than its largest teacher, as {share:.0%} "
        f"of its {own:,} are embeddings ({parts[EMBEDDINGS]:,}). Set data.vocabulary.texts to the tables of "
        "your texts (data.vocabulary.most bounds the number of rows): only the pieces that they use are kept."
    ]
