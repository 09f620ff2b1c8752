"""BNTA's Algorithm 1: the pairs of images that share the most similar part, exactly, in bounded memory."""

import heapq
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from passerby.errors import PasserbyError

_CANDIDATES = 8
_BLOCK_BYTES = 2**26
_SLACK = 1e-4
"""Of a product's squared distance, relative to the largest squared norm: its rounding is far below."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of images that share no image, the nearest first.

    Attributes:
        first, second: int64 [K], rows of the images, first < second.
        part: int64 [K], the part by which each pair is nearest.
        distance: float64 [K], Euclidean, of that part.
    """

    first: Tensor
    second: Tensor
    part: Tensor
    distance: Tensor


def nearest_part_pairs(parts: Tensor, count: int) -> Pairs:
    """Pairs images by their most similar part, the smallest distance first, each image once (BNTA, Algorithm 1).

    The distance of two images is the smallest Euclidean distance among their parts. Ties go to the smaller rows, then to the
    upper part. Distances of all pairs are looked at block by block, as matrix products; those that matter are computed
    again in float64, so that the result is that of brute force. Memory grows with N, not with N squared.

    Args:
        parts: float [N, S, C], local features.
        count: K; as many as there are where N / 2 is less.

    Raises:
        PasserbyError: for features that are not finite, or so large that their squares are not.
    """
    rows = _Rows(parts)
    heap = [entry for row in range(len(parts)) if (entry := rows.next(row)) is not None]
    heapq.heapify(heap)
    found: list[tuple[int, int]] = []
    while heap and len(found) < count:
        _, row, other = heapq.heappop(heap)
        if not rows.free[row]:
            continue
        if other != _UNKNOWN and rows.free[other]:
            found.append((row, other))
            rows.free[[row, other]] = False
            continue
        if other == _UNKNOWN:
            rows.look_again(row)
        entry = rows.next(row)
        if entry is not None:
            heapq.heappush(heap, entry)
    first, second = torch.tensor(found, dtype=torch.int64).view(-1, 2).T
    by_part = (parts[first].double() - parts[second].double()).square().sum(2).cpu()
    squared, part = by_part.min(1) if found else (by_part.new_empty(0), first.clone())
    return Pairs(first, second, part, squared.sqrt())


_UNKNOWN = -1
_Entry = tuple[float, int, int]
"""(distance, row, larger row); or (distance, row, `_UNKNOWN`): what is left lies no nearer, and which is next is not known."""


class _Rows:
    """Of every image the nearest ones among those of larger rows, a few at a time; each pair is known to its smaller row alone."""

    def __init__(self, parts: Tensor) -> None:
        self.parts = parts
        self.centred = (parts - parts.mean(0)).float()  # short vectors: products lose fewer digits
        self.norms = self.centred.square().sum(2)
        if not bool(self.norms.isfinite().all()):
            raise PasserbyError(
                "bnta: local features are not finite, or too large to compare; lower the learning rate, or look at the images"
            )
        self.slack = _SLACK * float(self.norms.max()) if len(parts) else 0.0
        self.free = np.ones(len(parts), bool)
        self.near: list[list[tuple[float, int]]] = []  # the nearest last
        self.bound: list[float] = []  # what is not in `near` lies at least so far away; infinity: that is all
        # Of each row: two rows of distances, a mask, and its candidates' differences.
        step = max(1, _BLOCK_BYTES // (9 * max(1, len(parts)) + 8 * _CANDIDATES * parts[:1].numel()))
        for start in range(0, len(parts), step):
            self._look(start, min(len(parts), start + step))

    def next(self, row: int) -> _Entry | None:
        """What `row` has to offer next; None: no partner is left."""
        while self.near[row]:
            distance, other = self.near[row].pop()
            if self.free[other]:
                return distance, row, other
        return None if self.bound[row] == torch.inf else (self.bound[row], row, _UNKNOWN)

    def look_again(self, row: int) -> None:
        """Finds the nearest of the larger rows that are still free, however many lie equally near."""
        others = torch.from_numpy(np.flatnonzero(self.free[row + 1 :]) + row + 1)
        found: list[tuple[float, int]] = []
        if len(others):
            squared = self._squared(torch.tensor([row]), others)[0]
            reach = squared.kthvalue(min(_CANDIDATES, len(others))).values + 2 * self.slack
            step = max(1, _BLOCK_BYTES // (16 * self.parts[0].numel()))
            for some in torch.split(others[(squared <= reach).cpu()], step):
                exact = self._exact(torch.tensor([row]), some[None])[0].tolist()
                found = sorted([*found, *zip(exact, some.tolist(), strict=True)])[:_CANDIDATES]
        self.near[row], self.bound[row] = found[::-1], torch.inf if len(found) == len(others) else found[-1][0]

    def _look(self, start: int, end: int) -> None:
        """Finds the candidates of rows [start, end), and the distance below which these are all."""
        nearest = self._squared(torch.arange(start, end), slice(None))
        nearest.masked_fill_(torch.ones_like(nearest, dtype=torch.bool).tril_(start), torch.inf)
        squared, columns = nearest.topk(min(_CANDIDATES, len(self.parts)), 1, largest=False)
        exact = self._exact(torch.arange(start, end), columns.cpu()).masked_fill(squared.isinf().cpu(), torch.inf)
        bounds = (squared[:, -1] - self.slack).clamp(min=0).double().sqrt().tolist()
        for values, others, bound in zip(exact.tolist(), columns.tolist(), bounds, strict=True):
            known = sorted(((v, j) for v, j in zip(values, others, strict=True) if v < bound), reverse=True)
            self.near.append(known)
            self.bound.append(bound)

    def _squared(self, rows: Tensor, columns: Tensor | slice) -> Tensor:
        """Squared distances [n, m] of rows to columns by the nearest part, up to `slack`."""
        nearest: Tensor | None = None
        for k in range(self.parts.shape[1]):
            product = self.centred[rows, k] @ self.centred[columns, k].T
            squared = torch.add(self.norms[rows, k, None] + self.norms[columns, k], product, alpha=-2)
            nearest = squared if nearest is None else torch.minimum(nearest, squared, out=nearest)
        assert nearest is not None
        return nearest

    def _exact(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Distances float64 [n, m] of rows [n] to columns [n, m]."""
        differences = self.parts[rows, None].double() - self.parts[columns].double()
        return differences.square_().sum(3).amin(2).sqrt().cpu()
