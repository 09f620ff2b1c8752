"""Who looks most like whom to a model in training: what the graph sampler asks."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from passerby.data.sampling import Indices
from passerby.matching.base import Matcher
from passerby.models.norm.processes import of_every_process, process_count

BATCH = 64
"""Images that are described at a time."""


class Graph(NamedTuple):
    """Images as a matcher takes them.

    Attributes:
        describe: gives the rows of features [n, F] of images by their indices.
        matcher: compares rows.
    """

    describe: Callable[[Indices], Tensor]
    matcher: Matcher


@torch.no_grad()
def nearest(graph: Graph, shown: Indices, anchors: Indices, count: int) -> Indices:
    """The most alike of some images to each of a few of them, blockwise; several processes share the work and agree.

    Args:
        graph: how images are compared.
        shown: [M] indices of images.
        anchors: [A] positions in `shown`.
        count: how many, less than M.

    Returns:
        positions in `shown`, int64 [A, count], the most alike first; never the anchor itself.
    """
    own = _share(len(shown))
    parts = [graph.describe(shown[own[start : start + BATCH]]) for start in range(0, len(own), BATCH)]
    rows = _dealt(torch.cat(parts))[: len(shown)]
    wanted = torch.from_numpy(anchors[_share(len(anchors))])
    found, start = [], 0
    for scores in graph.matcher.blocks(rows[wanted], rows):
        stop = start + len(scores)
        itself = wanted[start:stop, None].to(scores.device)
        found.append(scores.scatter(1, itself, -torch.inf).topk(count).indices.to(rows.device))
        start = stop
    indices: Indices = _dealt(torch.cat(found))[: len(anchors)].cpu().numpy()
    return indices


def _share(count: int) -> Indices:
    """Positions that this process works on; each has as many, the first ones again where it does not come out even."""
    processes = process_count()
    rank = dist.get_rank() if processes > 1 else 0
    return np.arange(rank, -(-count // processes) * processes, processes) % count


def _dealt(values: Tensor) -> Tensor:
    """The rows of all processes, in the order that `_share` dealt them out."""
    return torch.stack(of_every_process(values), 1).flatten(0, 1)
