"""Random numbers by address: reproducible in any batch, and distributed as they say."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from passerby.data.synthetic.draws import Draws

MANY = np.arange(40_000)


@given(st.integers(0, 2**31), st.lists(st.integers(0, 10**6), min_size=1, max_size=8))
def test_an_item_gets_the_same_numbers_alone_and_in_a_batch(seed: int, items: list[int]) -> None:
    together = Draws(seed, "x", items)
    first, second = together.unit(), together.normal()
    for k, item in enumerate(items):
        alone = Draws(seed, "x", [item])
        assert alone.unit()[0] == first[k]
        assert alone.normal()[0] == second[k]


def test_seeds_labels_and_calls_are_unrelated() -> None:
    base = Draws(0, "a", MANY)
    one, two = base.unit(), base.unit()
    for other in (two, Draws(1, "a", MANY).unit(), Draws(0, "b", MANY).unit()):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.02


def test_distributions() -> None:
    draws = Draws(3, "x", MANY)
    unit = draws.unit()
    assert unit.min() > 0
    assert unit.max() < 1
    np.testing.assert_allclose(np.histogram(unit, 10, (0, 1))[0] / len(MANY), 0.1, atol=0.01)
    normal = draws.normal(2.0)
    assert abs(normal.mean()) < 0.05
    assert abs(normal.std() - 2) < 0.05
    uniform = draws.uniform(-3, 5)
    assert abs(uniform.mean() - 1) < 0.05
    assert uniform.min() >= -3
    assert uniform.max() <= 5
    assert abs(draws.chance(0.3).mean() - 0.3) < 0.01
    np.testing.assert_allclose(np.bincount(draws.integers(4)) / len(MANY), 0.25, atol=0.01)
    np.testing.assert_allclose(np.bincount(draws.choice([1, 0, 3])) / len(MANY), [0.25, 0, 0.75], atol=0.01)


def test_choice_takes_weights_for_each_item() -> None:
    weights = np.eye(3)[[2, 0, 1]]
    np.testing.assert_array_equal(Draws(0, "x", np.arange(3)).choice(weights), [2, 0, 1])
