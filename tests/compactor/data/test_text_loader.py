"""Batches of texts: by length, and labels of words moved to first tokens."""

import numpy as np

from compactor.data.text_loader import by_length, first_tokens, to_tokens


def test_batches_hold_texts_of_like_length_in_random_order():
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 40, 103)
    order = by_length(lengths, 10, np.random.default_rng(1), window=5)
    assert sorted(order.tolist()) == list(range(103))
    assert order[100:].tolist() == [100, 101, 102]  # an unfilled batch stays last
    full = order[:100].reshape(10, 10)
    spread = lengths[full].max(1) - lengths[full].min(1)
    assert (
        spread.mean()
        < 12
        < (lengths[:100].reshape(10, 10).max(1) - lengths[:100].reshape(10, 10).min(1)).mean()
    )
    # only the samples of 5 successive batches are sorted among each other
    assert {frozenset(np.unique(batch // 50)) for batch in full} == {frozenset({0}), frozenset({1})}
    assert not (np.diff(lengths[full].mean(1)) > 0).all()


def test_the_order_is_a_function_of_the_generator():
    lengths = np.random.default_rng(0).integers(3, 40, 64)
    first, second, other = (by_length(lengths, 8, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.tolist() == second.tolist() != other.tolist()


def test_labels_of_words_move_to_their_first_tokens():
    # [CLS] play ja ##zz now [SEP]; [CLS] stop [SEP], whose second word was cut off
    texts = [
        np.array([1, 2, 4]),
        np.array([1, -1]),
    ]
    first = first_tokens(texts, 4)
    assert first.tolist() == [[1, 2, 4, -1], [1, -1, -1, -1]]
    labels = np.array([[0, 5, 6, -100], [7, 8, -100, -100]])
    assert to_tokens(labels, first, 6).tolist() == [
        [-100, 0, 5, -100, 6, -100],
        [-100, 7, -100, -100, -100, -100],
    ]
