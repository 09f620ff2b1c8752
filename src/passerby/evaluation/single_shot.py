"""CMC as CUHK03 was first evaluated: one random image of each person in the gallery, averaged over random draws."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from passerby.data.sample import DISTRACTOR
from passerby.errors import PasserbyError
from passerby.evaluation.ranking_labels import Labels

DRAWS_AT_ONCE = 1 << 22
"""Images drawn in one go, which bounds the memory: some 100 MiB."""


def single_shot_cmc(
    blocks: Iterable[Tensor], labels: Labels, max_rank: int = 50, trials: int = 100, seed: int = 0
) -> Tensor:
    """CMC with a single gallery shot (Li et al., "DeepReID", CVPR 2014): the mean over `trials` random galleries.

    For each query and each trial a gallery is drawn that holds one image of each person; the query's own person is
    drawn from its matches, so junk never stands in it. A distractor is a person of its own, and always there. Ties are
    counted against the model. Queries without a match do not count.

    Args:
        blocks: scores [n, G] float32 of the queries in their order, higher is more alike.
        labels: of all queries and the gallery.
        max_rank: length of the curve.
        trials: random galleries for each query.
        seed: of the draws; they do not depend on how the scores are cut into blocks.

    Returns:
        [max_rank] float64: the mean fraction of queries whose match has a rank up to 1, 2, ..., `max_rank`.

    Raises:
        PasserbyError: when the blocks do not fit the labels, or no query has a match.
    """
    people = labels.gallery_ids.clone()
    distractor = people == DISTRACTOR
    people[distractor] = people.max() + 1 + torch.arange(int(distractor.sum()))
    names, size = (torch.from_numpy(part) for part in np.unique(people.numpy(), return_counts=True))
    order, first = people.argsort(stable=True), size.cumsum(0) - size
    generator = np.random.default_rng(seed)
    hits = torch.zeros(max_rank + 2, dtype=torch.int64)
    at_once = max(1, DRAWS_AT_ONCE // (trials * len(names)))
    seen = 0
    for block in blocks:
        labels.check_block(block, seen)
        for scores in torch.split(block.cpu(), at_once):
            group = labels.group(seen, seen + len(scores))
            ids = labels.query_ids[seen : seen + len(scores)]
            seen += len(scores)
            uniform = torch.from_numpy(generator.random((len(scores), trials, len(names)), dtype=np.float32))
            drawn = (first + (uniform * size).long().clamp_(max=size - 1)).flatten(1)
            shown = scores.gather(1, order[drawn]).view_as(uniform)
            own = torch.searchsorted(names, ids).clamp(max=len(names) - 1)[:, None, None].expand(-1, trials, 1)
            matches = group.match.sum(1)
            # The n-th match stands where the running count of matches first reaches n.
            nth = (
                (uniform.gather(2, own)[:, :, 0] * matches[:, None])
                .long()
                .clamp_(max=(matches - 1).clamp(min=0)[:, None])
            )
            slot = torch.searchsorted(group.match.cumsum(1), nth + 1).clamp(max=group.match.shape[1] - 1)
            found = scores.gather(1, group.index.gather(1, slot))
            shown.scatter_(2, own, -torch.inf)
            ranks = 1 + (shown >= found[:, :, None]).sum(2)
            hits += torch.bincount(ranks[matches > 0].flatten().clamp(max=max_rank + 1), minlength=max_rank + 2)
    labels.check_complete(seen)
    if not hits.any():
        raise PasserbyError(
            "ranking: no query has a match in the gallery; check that identities are the same on both sides"
        )
    return hits[1:-1].cumsum(0).double() / int(hits.sum())
