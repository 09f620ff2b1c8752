"""k-reciprocal re-ranking: people who are each other's neighbours, and share neighbours, move up.

Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017. The encodings are kept sparse
and neighbours are found block by block, so nothing of size (Q + G)^2 exists at any time.
"""

import warnings
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from passerby.errors import PasserbyError
from passerby.evaluation.ranking_topk import largest
from passerby.matching.cosine import Cosine, check_features

AT_ONCE = 1 << 20
"""Elements of a temporary array: 16 MiB of float32, 32 MiB of int64."""


def rerank(query: Tensor, gallery: Tensor, k1: int = 20, k2: int = 6, lambda_value: float = 0.3) -> Tensor:
    """Scores after k-reciprocal re-ranking: minus the final distance of the paper's equation 12; higher is more alike.

    The original distance d is the squared Euclidean one, divided for each image by its distance to the farthest one of
    query and gallery together, as in the authors' experiments. The junk of a query takes part as everything else does;
    it is left out when the scores are ranked.

    Args:
        query: [Q, D] float32, L2-normalised.
        gallery: [G, D] float32, L2-normalised.
        k1: neighbours that may be reciprocal (equation 2), of which half serve to expand the sets (equation 4).
        k2: neighbours, the image among them, whose encodings are averaged (equation 11).
        lambda_value: weight of the original distance beside the Jaccard distance, 0 to 1.

    Returns:
        [Q, G] float32 on the device of `query`, between -1 and 0.

    Raises:
        PasserbyError: when sizes do not go together, a feature is not finite, or a parameter is out of range.
    """
    check_features(query, gallery)
    if k1 < 1 or k2 < 1 or not 0 <= lambda_value <= 1:
        raise PasserbyError(
            f"re-ranking: k1={k1}, k2={k2}, lambda={lambda_value}; k1 and k2 count from 1 up, lambda is between 0 and 1"
        )
    features = torch.cat([query, gallery])
    scores, neighbours, farthest = _neighbours(features, len(query), max(k1 + 1, k2), lambda_value)
    near = neighbours.cpu().int().numpy()
    encoding = _encode(features, farthest, _expanded_sets(near, k1))
    if k2 > 1:
        encoding = _graph(near[:, :k2], 1 / min(k2, len(near))) @ encoding
    for start, jaccard in _jaccard_distances(encoding, len(query)):
        scores[start : start + len(jaccard)].sub_(jaccard.to(scores.device), alpha=1 - lambda_value)
    return scores


def _neighbours(features: Tensor, queries: int, k: int, lambda_value: float) -> tuple[Tensor, Tensor, Tensor]:
    """One pass over the cosines of all N = Q + G features, Q of them queries.

    Returns:
        [Q, G] float32, minus the original distance times `lambda_value`; [N, k] int64, the nearest of each image,
        itself first; [N] float32, the squared distance to its farthest.
    """
    count, k = len(features), min(k, len(features))
    scores = torch.empty((queries, count - queries), device=features.device)
    neighbours = torch.empty((count, k), dtype=torch.int64, device=features.device)
    farthest = torch.empty(count, device=features.device)
    start = 0
    for cosine in Cosine().blocks(features, features):
        stop = start + len(cosine)
        # Where all features are the same there is no distance to divide by, only rounding.
        far = (2 - 2 * cosine.amin(1)).clamp_(min=1e-6)
        if start < queries:
            weight = (2 * lambda_value / far)[: queries - start, None]
            torch.addcmul(-weight, cosine[: queries - start, queries:], weight, out=scores[start:stop])
        # An image is its own nearest one, whatever copies of it there are and however its distance is rounded.
        cosine[torch.arange(len(cosine)), torch.arange(start, stop)] = torch.inf
        neighbours[start:stop] = largest(cosine, k)[1]
        farthest[start:stop] = far
        start = stop
    return scores, neighbours, farthest


def _graph(near: NDArray[np.int32], value: float) -> csr_array:
    """[N, N] sparse float32 with `value` from each image to its nearest [N, k]."""
    count, k = near.shape
    ends = np.arange(0, count * k + 1, k, dtype=np.int32)
    return csr_array((np.full(near.size, value, np.float32), near.flatten(), ends), shape=(count, count))


def _reciprocal(near: NDArray[np.int32]) -> csr_array:
    """[N, N] sparse: 1 from each image to those of its nearest [N, k] that have it among their own (equation 2)."""
    graph = _graph(near, 1.0)
    return graph.multiply(graph.T.tocsr()).tocsr()


def _expanded_sets(near: NDArray[np.int32], k1: int) -> csr_array:
    """[N, N] sparse: not 0 from each image to the members of its expanded k-reciprocal set R* (equation 4).

    A member's own set for k1 / 2 is taken in where it shares more than 2/3 of its members with the image's.

    Args:
        near: [N, at least k1 + 1] the nearest of each image, itself first.
        k1: neighbours that may be reciprocal.
    """
    members, half = _reciprocal(near[:, : k1 + 1]), _reciprocal(near[:, : round(k1 / 2) + 1])
    size = half.sum(axis=1)
    shared = members.multiply(members @ half.T).tocsr()
    shared.data = (3 * shared.data > 2 * size[shared.indices]).astype(np.float32)
    shared.eliminate_zeros()
    return (members + shared @ half).tocsr()


def _encode(features: Tensor, farthest: Tensor, sets: csr_array) -> csr_array:
    """[N, N] sparse float32: exp(-d) of each image to the members of its set, divided by their sum (equation 7)."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        pattern = torch.sparse_csr_tensor(
            torch.from_numpy(sets.indptr).long(),
            torch.from_numpy(sets.indices).long(),
            torch.zeros(sets.nnz),
            sets.shape,
            device=features.device,
            check_invariants=False,
        )
    cosine = torch.sparse.sampled_addmm(pattern, features, features.T, beta=0.0).values().cpu().numpy()
    size = np.diff(sets.indptr)
    weights = np.exp(np.minimum(2 * cosine - 2, 0) / np.repeat(farthest.cpu().numpy(), size))
    # No set is empty: an image is a member of its own.
    total = np.add.reduceat(weights, sets.indptr[:-1])
    return csr_array((weights / np.repeat(total, size), sets.indices, sets.indptr), shape=sets.shape)


def _jaccard_distances(encoding: csr_array, queries: int) -> Iterator[tuple[int, Tensor]]:
    """Yields the first query and the Jaccard distances [n, G] of blocks of queries to the gallery (equation 10).

    Encodings sum to 1, so the sum of the maxima is 2 less the sum of the minima; and only members that two encodings
    share have a minimum above 0: they are listed through the columns of the gallery's encodings.
    """
    asked, columns = encoding[:queries], encoding[queries:].tocsc()
    gallery = columns.shape[0]
    holders, values = torch.from_numpy(columns.indices), torch.from_numpy(columns.data)
    starts = torch.from_numpy(columns.indptr).long()
    members = torch.from_numpy(asked.indices).long()
    query = torch.from_numpy(np.repeat(np.arange(queries), np.diff(asked.indptr)))
    weight = torch.from_numpy(asked.data)
    number = starts[members + 1] - starts[members]
    listed = np.concatenate([[0], np.cumsum(number.numpy())])[asked.indptr]
    start = 0
    while start < queries:
        fits = int(np.searchsorted(listed, listed[start] + AT_ONCE, side="right")) - 1
        stop = min(max(fits, start + 1), start + max(1, AT_ONCE // gallery), queries)
        part = slice(asked.indptr[start], asked.indptr[stop])
        pair = torch.repeat_interleave(number[part])
        ends = number[part].cumsum(0)
        entry = torch.arange(len(pair)) + (starts[members[part]] - ends + number[part]).index_select(0, pair)
        common = torch.minimum(weight[part].index_select(0, pair), values.index_select(0, entry))
        cell = holders.index_select(0, entry) + ((query[part] - start) * gallery).index_select(0, pair)
        shared = torch.bincount(cell, common, minlength=(stop - start) * gallery).view(-1, gallery)
        yield start, 1 - shared / (2 - shared)
        start = stop
