"""Ranks by counting: a match at score s has the rank 1 + (matches above it) + (others at s or above).

What scores below a query's lowest match is never counted, so a trained model's rows shrink to a few scores before they
are sorted. Sorting costs half of the matrix product that made the row even where nothing can be left out.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from passerby.evaluation.ranking_labels import Group

_ROWS = 32
"""Queries worked on at once by a thread: their scores stay in the processor's cache, and Python's share is small."""

_SPARSE = 4
"""Rows are shortened where fewer than one score in so many counts; where more do, moving them costs more than it saves."""


def match_ranks(scores: Tensor, group: Group) -> Tensor:
    """Ranks of each query's matches, from 1 on, best match first; ties are counted against the model.

    Args:
        scores: [n, G] float32, higher is more alike.
        group: of the n queries.

    Returns:
        [n, M] int64 on the CPU, of which the first `group.match[q].sum()` of a row have a meaning; 0 all along a row
        that holds NaN or infinity.
    """
    if scores.device.type != "cpu":
        return _sorted_ranks(scores, group)
    values, index, match = scores.detach().numpy(), group.index.numpy(), group.match.numpy()
    ranks = np.empty(index.shape, np.int64)

    def fill(rows: range) -> None:
        for start in rows:
            part = slice(start, min(start + _ROWS, rows.stop))
            ranks[part] = _counted_ranks(values[part], index[part], match[part])

    workers = torch.get_num_threads()
    share = -(-len(ranks) // workers)
    with ThreadPoolExecutor(workers) as pool:  # NumPy lets go of the GIL
        list(pool.map(fill, [range(k, min(k + share, len(ranks)), _ROWS) for k in range(0, len(ranks), share)]))
    return torch.from_numpy(ranks)


def _counted_ranks(
    scores: NDArray[np.float32], index: NDArray[np.int64], match: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """`match_ranks` of a few queries. NumPy sorts with vector instructions, 20 x faster than torch does on the CPU."""
    own = np.take_along_axis(scores, index, axis=1)
    best_first = -np.sort(-np.where(match, own, np.float32(-np.inf)), axis=1)
    lowest = np.where(match, own, np.float32(np.inf)).min(axis=1, keepdims=True)
    counts = np.less(scores, lowest)
    np.logical_not(counts, out=counts)  # and so NaN counts, to be seen below
    if _SPARSE * np.count_nonzero(counts) < counts.size:
        np.put_along_axis(counts, index, False, axis=1)
        others = _shortened(scores, counts)
    else:
        # Levelled, what does not count is sorted faster. A step down from 0 has to be one that no processor takes for 0.
        level = np.minimum(np.nextafter(lowest, np.float32(-np.inf)), lowest - np.finfo(np.float32).tiny)
        others = np.maximum(scores, level)
        np.put_along_axis(others, index, np.float32(-np.inf), axis=1)
    others.sort(axis=1)
    # A call for each row costs a microsecond, sorting it fifty.
    below = np.stack([row.searchsorted(wanted) for row, wanted in zip(others, best_first, strict=True)])
    ranks: NDArray[np.int64] = np.arange(1, index.shape[1] + 1) + others.shape[1] - below
    # Sorting puts NaN and infinity last.
    ranks[~(np.isfinite(own).all(axis=1) & (others[:, -1] < np.inf))] = 0
    return ranks


def _shortened(scores: NDArray[np.float32], counts: NDArray[np.bool_]) -> NDArray[np.float32]:
    """[n, longest] the scores of each row that count [n, G], then minus infinity."""
    at: NDArray[Any] = np.flatnonzero(counts)
    sizes = np.diff(np.searchsorted(at, np.arange(len(scores) + 1) * scores.shape[1]))
    short = np.full((len(scores), max(1, sizes.max())), -np.inf, np.float32)
    short[np.arange(short.shape[1]) < sizes[:, None]] = scores.take(at)
    return short


def _sorted_ranks(scores: Tensor, group: Group) -> Tensor:
    """`match_ranks` with torch, on any device."""
    index, match = group.index.to(scores.device), group.match.to(scores.device)
    own = scores.gather(1, index)
    others = scores.scatter(1, index, -torch.inf).sort(1).values
    best_first = own.masked_fill(~match, -torch.inf).sort(1, descending=True).values
    number = torch.arange(1, index.shape[1] + 1, device=scores.device)
    ranks = number + others.shape[1] - torch.searchsorted(others, best_first)
    finite = torch.isfinite(own).all(1) & (others[:, -1] < torch.inf)
    return ranks.where(finite[:, None], 0).cpu()
