"""The k best gallery images of each query, without sorting the rest."""

from collections.abc import Iterable

import torch
from torch import Tensor

from passerby.evaluation.ranking_labels import Labels
from passerby.matching.cosine import Cosine

CHUNKS = 16


def largest(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest scores of each row and where they stand, largest first; as `torch.topk`, at a third of the time.

    The k largest of a row lie in the k chunks of it with the largest maxima, so only those are searched.

    Args:
        scores: [n, G] float32.
        k: how many, at most G.

    Returns:
        Scores [n, k] and columns [n, k] int64. Of equal scores any may come first.
    """
    columns = scores.shape[1]
    width = columns // CHUNKS
    if k >= width:
        values, order = scores.topk(k)
        return values, order
    # Chunk c holds the columns c, c + width, c + 2 width, ...: maxima over them are taken along whole rows of memory.
    maxima = scores[:, : CHUNKS * width].view(-1, CHUNKS, width).amax(1)
    chunks = maxima.topk(k, sorted=False).indices
    steps = torch.arange(0, CHUNKS * width, width, device=scores.device)
    rest = torch.arange(CHUNKS * width, columns, device=scores.device).expand(len(scores), -1)
    candidates = torch.cat([(chunks[:, :, None] + steps).flatten(1), rest], dim=1)
    values, order = scores.gather(1, candidates).topk(k)
    return values, candidates.gather(1, order)


def top_k_scores(blocks: Iterable[Tensor], labels: Labels, k: int) -> tuple[Tensor, Tensor]:
    """The k best gallery images of each query by given scores, the query's junk left out.

    Args:
        blocks: scores [n, G] float32 of the queries in their order, higher is more alike.
        labels: of all queries and the gallery.
        k: how many; no more than there are in the gallery are given.

    Returns:
        Gallery positions [Q, k] int64, best first, and their scores [Q, k], on the CPU. Where a query has fewer than k
        images that are not junk, the places left over hold -1 and minus infinity. Of equal scores any may come first.

    Raises:
        PasserbyError: when the blocks do not fit the labels.
    """
    seen = 0
    indices, values = [], []
    for scores in blocks:
        end = labels.check_block(scores, seen)
        group = labels.group(seen, end)
        row, slot = group.junk.nonzero(as_tuple=True)
        allowed = scores.index_put(
            (row.to(scores.device), group.index[row, slot].to(scores.device)), scores.new_tensor(-torch.inf)
        )
        best, where = largest(allowed, min(k, scores.shape[1]))
        indices.append(where.masked_fill(best == -torch.inf, -1).cpu())
        values.append(best.cpu())
        seen = end
    labels.check_complete(seen)
    return torch.cat(indices), torch.cat(values)


def top_k(
    query: Tensor,
    gallery: Tensor,
    k: int,
    query_ids: Tensor,
    gallery_ids: Tensor,
    query_cameras: Tensor | None = None,
    gallery_cameras: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The k gallery images with the largest cosine to each query, the query's junk left out; see `top_k_scores`.

    Args:
        query: [Q, D] float32, L2-normalised.
        gallery: [G, D] float32, L2-normalised.
        k: how many.
        query_ids: [Q] integers.
        gallery_ids: [G] integers, -1 for distractors.
        query_cameras: [Q] integers, -1 where unknown, or None.
        gallery_cameras: [G] integers, -1 where unknown, or None.

    Raises:
        PasserbyError: when sizes do not go together or a feature is not finite.
    """
    labels = Labels(query_ids, gallery_ids, query_cameras, gallery_cameras)
    return top_k_scores(Cosine().blocks(query, gallery), labels, k)
