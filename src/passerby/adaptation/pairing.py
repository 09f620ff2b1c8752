"""BNTA's Algorithm 1: the pairs of images that share the most similar part, exactly, in bounded memory."""

import heapq
from dataclasses import dataclass

import torch
from torch import Tensor

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
    """
    rows = _Rows(parts)
    heap = [rows.best(i) for i in range(len(parts))]
    heapq.heapify(heap)
    found: list[tuple[float, int, int]] = []
    while heap and len(found) < count:
        distance, low, high, row = heapq.heappop(heap)
        if not rows.free[row]:
            continue
        if low >= 0 and rows.free[low] and rows.free[high]:
            found.append((distance, low, high))
            rows.free[low] = rows.free[high] = False
        else:
            entry = rows.next(row, resolve=low < 0)
            if entry is not None:
                heapq.heappush(heap, entry)
    first = torch.tensor([low for _, low, _ in found], dtype=torch.int64)
    second = torch.tensor([high for _, _, high in found], dtype=torch.int64)
    by_part = (parts[first].double() - parts[second].double()).square().sum(2).cpu()
    squared, part = by_part.min(1) if len(found) else (by_part.new_empty(0), first.clone())
    return Pairs(first, second, part, squared.sqrt())


_Entry = tuple[float, int, int, int]
"""(distance, smaller row, larger row, row that asks); rows -1 where the row knows only that nothing nearer is left."""


class _Rows:
    """Every row's nearest others, nearest first: a few at once, all of them when these are used up."""

    def __init__(self, parts: Tensor) -> None:
        self.parts = parts
        self.centred = (parts - parts.mean(0)).float()  # short vectors: products lose fewer digits
        self.free = [True] * len(parts)
        self.whole = [False] * len(parts)
        self.place = [0] * len(parts)
        self.lists: list[list[tuple[float, int]]] = []
        self.bound: list[float] = []
        norms = self.centred.square().sum(2)
        slack = _SLACK * float(norms.max()) if len(parts) else 0.0
        # Of each row: two rows of distances, and its candidates' differences.
        step = max(1, _BLOCK_BYTES // (8 * max(1, len(parts)) + 8 * _CANDIDATES * parts[:1].numel()))
        for start in range(0, len(parts), step):
            self._look(start, min(len(parts), start + step), norms, slack)

    def _look(self, start: int, end: int, norms: Tensor, slack: float) -> None:
        """Finds the candidates of rows [start, end), and the distance below which these are all."""
        nearest: Tensor | None = None
        for k in range(self.parts.shape[1]):
            product = self.centred[start:end, k] @ self.centred[:, k].T
            squared = torch.add(norms[start:end, k, None] + norms[None, :, k], product, alpha=-2)
            nearest = squared if nearest is None else torch.minimum(nearest, squared, out=nearest)
        assert nearest is not None
        own = torch.arange(end - start, device=nearest.device)
        nearest[own, own + start] = torch.inf
        wanted = min(_CANDIDATES, max(0, len(self.parts) - 1))
        squared, columns = nearest.topk(wanted, 1, largest=False)
        exact = self._exact(torch.arange(start, end), columns.cpu())
        complete = wanted == len(self.parts) - 1
        for i, (values, others) in enumerate(zip(exact.tolist(), columns.tolist(), strict=True)):
            bound = torch.inf if complete else max(0.0, float(squared[i, -1]) - slack) ** 0.5
            self.lists.append(sorted((v, j) for v, j in zip(values, others, strict=True) if v < bound))
            self.bound.append(bound)
            self.whole[start + i] = complete

    def _exact(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Distances float64 [n, m] of rows [n] to columns [n, m]."""
        differences = self.parts[rows, None].double() - self.parts[columns].double()
        return differences.square_().sum(3).amin(2).sqrt().cpu()

    def best(self, row: int) -> _Entry:
        """What `row` has to offer first."""
        return self.next(row) or (torch.inf, -1, -1, row)

    def next(self, row: int, resolve: bool = False) -> _Entry | None:
        """The nearest free other of `row`; `resolve` looks at all others where its candidates are used up."""
        if resolve and not self.whole[row]:
            others = torch.tensor([j for j in range(len(self.parts)) if j != row and self.free[j]], dtype=torch.int64)
            step = max(1, _BLOCK_BYTES // (16 * self.parts[:1].numel()))
            values = [
                v
                for some in torch.split(others, step)
                for v in self._exact(torch.tensor([row]), some[None])[0].tolist()
            ]
            self.lists[row], self.place[row] = sorted(zip(values, others.tolist(), strict=True)), 0
            self.whole[row] = True
        for place in range(self.place[row], len(self.lists[row])):
            distance, other = self.lists[row][place]
            if self.free[other]:
                self.place[row] = place
                return distance, min(row, other), max(row, other), row
        self.place[row] = len(self.lists[row])
        return None if self.whole[row] else (self.bound[row], -1, -1, row)
