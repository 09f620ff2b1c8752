"""Random numbers by address: draw k of item i is the same whatever else is drawn, in whatever batch."""

import zlib
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

Floats = NDArray[np.floating[Any]]
"""Single precision throughout; the type is wider because numpy's stubs lose it on the way."""
Ints = NDArray[np.int64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _scramble(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


class Draws:
    """Vectorised draws for many items at once: each call uses up the next draw of every item.

    A numpy `Generator` is a stream: what item 7 gets depends on how many items came before. Here item 7 gets the same
    numbers alone, in a batch of 32 or on another thread, so an image can be rendered by its index.
    """

    def __init__(self, seed: int, label: str, index: ArrayLike) -> None:
        """Opens the stream.

        Args:
            seed: of the data set, at least 0.
            label: what is drawn ("person", "pose", ...); another label gives unrelated numbers.
            index: [N] item numbers.
        """
        words = np.random.SeedSequence([seed, zlib.crc32(label.encode())]).generate_state(1, np.uint64)
        self._items = _scramble(np.asarray(index, np.uint64) * _GOLDEN + words[0])
        self._used = 0

    def unit(self) -> Floats:
        """[N] in the open interval (0, 1)."""
        self._used += 1
        step = np.array([self._used], np.uint64) * _GOLDEN
        # 23 bits and a half: exact in float32, never 0 or 1.
        bits = (_scramble(self._items + step) >> np.uint64(41)).astype(np.float32)
        return (bits + np.float32(0.5)) * np.float32(2.0**-23)

    def uniform(self, low: ArrayLike, high: ArrayLike) -> Floats:
        """[N] between `low` and `high` (scalars or [N])."""
        low = np.asarray(low, np.float32)
        drawn: Floats = low + (np.asarray(high, np.float32) - low) * self.unit()
        return drawn

    def normal(self, spread: ArrayLike = 1.0) -> Floats:
        """[N] normal with mean 0 and standard deviation `spread`."""
        drawn: Floats = ndtri(self.unit()).astype(np.float32) * np.asarray(spread, np.float32)
        return drawn

    def chance(self, probability: ArrayLike) -> NDArray[np.bool_]:
        """[N] true with `probability`."""
        return self.unit() < np.asarray(probability, np.float32)

    def choice(self, weights: ArrayLike) -> Ints:
        """[N] numbers below K, drawn by `weights` [K] or [N, K] (at least 0; need not sum to 1)."""
        edges = np.cumsum(np.asarray(weights, np.float64), axis=-1)
        at = self.unit()[:, None].astype(np.float64) * edges[..., -1:]
        drawn: Ints = np.minimum((at >= edges).sum(axis=-1), edges.shape[-1] - 1)
        return drawn

    def integers(self, count: int) -> Ints:
        """[N] uniform numbers below `count`."""
        return (self.unit() * np.float32(count)).astype(np.int64).clip(0, count - 1)
