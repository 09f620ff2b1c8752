"""The bootstrap over identities, against a plain loop and against what it is for."""

from random import Random

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from passerby.errors import PasserbyError
from passerby.evaluation.bootstrap import identity_bootstrap


def plain(values: NDArray[np.float64], identities: NDArray[np.int64], n: int, confidence: float) -> tuple[float, float]:
    """Draws people with replacement, pools all their values, takes percentiles of the means."""
    rng = np.random.default_rng(123)
    people = np.unique(identities)
    own = {person: values[identities == person] for person in people}
    means = [np.concatenate([own[p] for p in rng.choice(people, len(people))]).mean() for _ in range(n)]
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_equals_a_plain_loop(confidence: float) -> None:
    rng = np.random.default_rng(0)
    # People differ in how many queries they have and in how easy they are, and the two go together.
    identities = np.repeat(np.arange(60), rng.integers(1, 8, 60))
    values = np.clip(0.1 * np.bincount(identities)[identities] + rng.normal(0, 0.3, len(identities)), 0, 1)
    n = 3000
    low, high = identity_bootstrap(values, identities, n_resamples=n, confidence=confidence)
    expected = plain(values, identities, n, confidence)
    # Two bootstraps with other draws: their ends differ by noise alone.
    width = expected[1] - expected[0]
    assert low == pytest.approx(expected[0], abs=0.1 * width)
    assert high == pytest.approx(expected[1], abs=0.1 * width)
    assert low < values.mean() < high


def test_queries_that_go_together_make_the_interval_wider() -> None:
    rng = np.random.default_rng(1)
    person = rng.random(40)
    identities = np.repeat(np.arange(40), 9)
    values = person[identities]
    low, high = identity_bootstrap(values, identities)
    naive_low, naive_high = identity_bootstrap(values, np.arange(len(values)))
    # Nine equal values a person are worth one: the interval is sqrt(9) times as wide.
    assert (high - low) / (naive_high - naive_low) == pytest.approx(3, rel=0.15)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    held = 0
    for trial in range(200):
        person = rng.random(50)
        identities = np.repeat(np.arange(50), 4)
        hits = rng.random(200) < person[identities]
        low, high = identity_bootstrap(hits, identities, n_resamples=300, seed=trial)
        held += low <= 0.5 <= high
    # 95 % of 200 is 190, deviation 3.1; percentile intervals of 50 clusters hold a little less.
    assert 178 <= held <= 199


def test_the_seed_decides() -> None:
    values, identities = np.random.default_rng(3).random(50), np.arange(50) // 2
    assert identity_bootstrap(values, identities, seed=4) == identity_bootstrap(values, identities, seed=4)
    assert identity_bootstrap(values, identities, seed=4) != identity_bootstrap(values, identities, seed=5)


@settings(max_examples=20, deadline=None)
@example([(0.6765645434064383, 0), (0.6765645434064383, 1)], Random(0))
@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(-5, 10**12)), min_size=1, max_size=30),
    st.randoms(use_true_random=False),
)
def test_ends_lie_between_the_values_whatever_the_order(rows: list[tuple[float, int]], shuffler: object) -> None:
    values, identities = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    low, high = identity_bootstrap(values, identities, n_resamples=50)
    assert values.min() - 1e-12 <= low <= high <= values.max() + 1e-12
    order = np.random.default_rng(0).permutation(len(values))
    assert identity_bootstrap(values[order], identities[order], n_resamples=50) == pytest.approx((low, high))


def test_one_person_gives_the_mean() -> None:
    assert identity_bootstrap([0.0, 1.0, 0.5], [7, 7, 7]) == (0.5, 0.5)


def test_what_does_not_fit_is_one_line() -> None:
    with pytest.raises(PasserbyError, match="value of query 1 is not finite; leave out queries without a match"):
        identity_bootstrap([0.5, float("nan"), 1.0], [1, 2, 3])
    for values, identities in (([], []), ([0.5], [1, 2]), ([[0.5]], [[1]])):
        with pytest.raises(PasserbyError, match="give one value and one identity a query"):
            identity_bootstrap(values, identities)
