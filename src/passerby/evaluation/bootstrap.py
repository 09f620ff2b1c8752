"""How sure a mean over queries is, when the queries of one person stand or fall together."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from passerby.errors import PasserbyError

RESAMPLED_AT_ONCE = 1 << 20
"""Identities drawn in one go, which bounds the memory: some 30 MiB."""


def identity_bootstrap(
    values: ArrayLike, identities: ArrayLike, n_resamples: int = 1000, seed: int = 0, confidence: float = 0.95
) -> tuple[float, float]:
    """Interval of the mean of `values` by a percentile bootstrap over identities.

    Identities are drawn with replacement, each with all its values (a cluster bootstrap: Davison and Hinkley,
    "Bootstrap Methods and their Application", 1997, section 3.8). Rank-k hits, AP and INP of queries all go this way;
    the values of several splits may be given one after the other.

    Args:
        values: [Q] one number a query, such as AP; leave out queries without a match.
        identities: [Q] integers, the person of each query.
        n_resamples: number of bootstrap samples.
        seed: of the draws.
        confidence: share of the bootstrap samples that lie in the interval.

    Returns:
        Lower and upper end; both are the mean itself where there is a single identity, which says nothing about others.

    Raises:
        PasserbyError: when there is no value, one is not finite, or values and identities differ in number.
    """
    numbers, people = np.asarray(values, dtype=np.float64), np.asarray(identities)
    if numbers.ndim != 1 or numbers.shape != people.shape or not len(numbers):
        raise PasserbyError(
            f"bootstrap: values of shape {numbers.shape} and identities of shape {people.shape}; "
            "give one value and one identity a query, and at least one query"
        )
    if not np.isfinite(numbers).all():
        raise PasserbyError(
            f"bootstrap: the value of query {int(np.argmin(np.isfinite(numbers)))} is not finite; "
            "leave out queries without a match"
        )
    cluster = np.unique(people, return_inverse=True)[1].ravel()
    sums, counts = np.bincount(cluster, weights=numbers), np.bincount(cluster)
    if len(sums) == 1:
        return float(numbers.mean()), float(numbers.mean())
    from scipy.stats import bootstrap

    interval = bootstrap(
        (sums, counts),
        _ratio,
        n_resamples=n_resamples,
        batch=max(1, RESAMPLED_AT_ONCE // len(sums)),
        vectorized=True,
        paired=True,
        confidence_level=confidence,
        method="percentile",
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    # Of resampled means that differ by rounding alone, scipy's interpolated low end may lie above its high one.
    low, high = sorted((float(interval.low), float(interval.high)))
    return low, high


def _ratio(sums: NDArray[np.float64], counts: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    ratio: NDArray[np.float64] = sums.sum(axis=axis) / counts.sum(axis=axis)
    return ratio
