"""When the report advises to trim the vocabulary; parts of the models are given by hand."""

from types import SimpleNamespace

import pytest

from compactor.release import vocabulary_hint as hint


def model(embeddings, rest, kept=None):
    text = SimpleNamespace(kept=kept)
    return SimpleNamespace(parts={"embeddings": embeddings, "encoder": rest}, info=SimpleNamespace(text=text))


@pytest.fixture(autouse=True)
def counts(monkeypatch):
    monkeypatch.setattr(hint, "parameter_parts", lambda one: one.parts)
    monkeypatch.setattr(hint, "parameter_count", lambda one: sum(one.parts.values()))


def test_a_student_that_is_mostly_embeddings_is_told_which_key_trims_them():
    (said,) = hint.vocabulary_hint(model(8000, 2000), [model(8000, 5000)])
    assert said.startswith(
        "The student has 1.3 times fewer parameters than its largest teacher, as 80% of its 10,000 are "
        "embeddings (8,000). Set data.vocabulary.texts"
    )


@pytest.mark.parametrize(
    ("student", "teachers"),
    [
        (model(8000, 2000, kept="kept.json"), [model(8000, 5000)]),  # trimmed already
        (model(8000, 2000), [model(8000, 12000)]),  # twice as small
        (model(3000, 7000), [model(3000, 10000)]),  # not because of its embeddings
        (model(8000, 2000), []),
    ],
)
def test_where_trimming_would_not_help_nothing_is_said(student, teachers):
    assert hint.vocabulary_hint(student, teachers) == []
