"""A hint to trim the vocabulary of a text student that is small but for its table of word pieces."""

import json

from compactor.models.student import Student, parameter_count
from compactor.records import TextInfo
from compactor.release.job import ReleaseJob
from compactor.release.measurement import weights_bytes
from compactor_runtimes.report.format import times

MOST = 0.5  # share of the parameters from which on a table is most of a student
SMALLER = 2.0  # how many times smaller a student should be than its teachers
TRIMMABLE = "WordPiece"  # the only kind of tokenizer that `data.vocabulary` trims


def vocabulary_hint(job: ReleaseJob) -> str | None:
    """Say which key makes a student smaller; None where it was set, cannot be, or would not matter much.

    The files that are compared are the weights in torch: a reduced precision makes either of them smaller.
    """
    text = job.data.info.text
    if text is None or text.kept is not None or not job.teachers or not _is_trimmable(text):
        return None
    share = table_share(job.student)
    own = weights_bytes(job.student, job.student_folder)
    theirs = sum(weights_bytes(teacher.model, teacher.folder) for teacher in job.teachers)
    if share <= MOST or theirs >= SMALLER * own:
        return None
    whose = "teacher's" if len(job.teachers) == 1 else "teachers' together"
    smaller = f"{times(theirs / own)} times smaller than" if theirs > own else "not smaller than"
    return (
        f"student: {share:.0%} of its parameters are its table of word pieces, and its file is {smaller} its "
        f"{whose}; data.vocabulary: {{texts: [...]}} keeps only the pieces that occur in these texts "
        "(most: N, only the most frequent)"
    )


def table_share(student: Student) -> float:
    """Share of the parameters that lie in tables with one row a token; one that is tied counts once."""
    from torch import nn

    size = getattr(student, "vocab_size", None)
    if size is None:
        return 0.0
    tables = {
        id(module.weight): module.weight.numel()
        for module in student.modules()
        if isinstance(module, nn.Embedding) and module.num_embeddings >= size
    }
    return sum(tables.values()) / parameter_count(student)


def _is_trimmable(text: TextInfo) -> bool:
    model = json.loads(text.tokenizer.read_text(encoding="utf-8")).get("model") or {}
    # old files do not say their type
    return bool(model.get("type", TRIMMABLE if "max_input_chars_per_word" in model else "") == TRIMMABLE)
