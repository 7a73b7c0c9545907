import numpy as np
import pytest

from compactor.pool import neighbours
from compactor.pool.neighbours import nearest, unit_rows


def test_the_largest_products_are_found_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "INDEX", 700)
    random = np.random.default_rng(0)
    index, queries = (unit_rows(random.normal(size=(rows, 8))) for rows in (1500, 300))
    rows, products = nearest(queries, lambda a, b: index[a:b], len(index), 5)
    every = queries @ index.T
    assert (rows == np.argsort(-every, 1)[:, :5]).all()
    np.testing.assert_allclose(products, -np.sort(-every, 1)[:, :5], atol=1e-6)


def test_only_earlier_and_living_rows_are_found() -> None:
    rows = unit_rows(np.random.default_rng(1).normal(size=(30, 4)))
    alive = np.ones(30, np.bool_)
    alive[::3] = False
    found, _ = nearest(rows[10:], lambda a, b: rows[a:b], 30, 25, first=10, alive=alive)
    for row, names in enumerate(found, start=10):
        assert set(names[names >= 0].tolist()) == {other for other in range(row) if other % 3}


def test_fewer_rows_than_asked_for_are_marked() -> None:
    rows = np.eye(3, dtype=np.float32)
    found, _ = nearest(rows[:1], lambda a, b: rows[a:b], 3, 5)
    assert found.tolist() == [[0, 1, 2, -1, -1]]


def test_rows_of_zeros_stay_zero() -> None:
    assert unit_rows(np.array([[0.0, 0.0], [3.0, 4.0]])).tolist() == [[0.0, 0.0], pytest.approx([0.6, 0.8])]
