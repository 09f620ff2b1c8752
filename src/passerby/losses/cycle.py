"""CycAs' cycle association loss."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def cycle_association(first: Tensor, second: Tensor, margin: float = 0.5) -> Tensor:
    """Walks from one frame to the other and back should end where they began (Wang et al., "CycAs", ECCV 2020, section 3).

    With S the cosines, A = softmax(T S) row by row and B = softmax(T S^T), the walk's end is A B [m, m]. Each of its
    diagonal entries shall exceed the largest other entry of its row, and of its column, by the margin. T = 2 log(n + 1)
    grows with the n choices of a row (the paper's adaptive temperature, epsilon = delta = 0.5). The walk starts in the
    frame with fewer people, so that everybody can find a counterpart.

    Args:
        first: float [m, D], rows of length 1; computed in float32 under autocast.
        second: float [n, D].
        margin: of probabilities.

    Returns:
        scalar; zero, with zero gradients, when a frame shows nobody, or both show one person.
    """
    if len(first) > len(second):
        first, second = second, first
    if len(first) < 2:
        return (first.sum() + second.sum()) * 0
    with torch.autocast(first.device.type, enabled=False):
        wide = torch.promote_types(first.dtype, torch.float32)
        cosine = first.to(wide) @ second.to(wide).T
        there = (2 * math.log(cosine.shape[1] + 1) * cosine).softmax(1)
        back = (2 * math.log(cosine.shape[0] + 1) * cosine.T).softmax(1)
        cycle = there @ back
    own = cycle.diagonal()
    others = cycle.masked_fill(torch.eye(len(cycle), dtype=torch.bool, device=cycle.device), -torch.inf)
    return (F.relu(others.amax(1) - own + margin) + F.relu(others.amax(0) - own + margin)).mean()
