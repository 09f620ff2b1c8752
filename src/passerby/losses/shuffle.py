"""MetaBIN's inter-domain shuffle loss."""

import torch
import torch.nn.functional as F
from torch import Tensor

from passerby.losses.triplet import euclidean_distances


def inter_domain_shuffle(features: Tensor, identity: Tensor, domain: Tensor) -> Tensor:
    """softplus(d(a, n-) - d(a, n+)), the mean over anchors (Choi et al., "MetaBIN", CVPR 2021, eq. 7).

    n- is the farthest image of another domain, n+ the nearest image of another person in the anchor's domain; d is
    Euclidean. Minimised, it pulls the domains into each other. (Which negatives, the paper leaves open.)

    Args:
        features: float [N, D]; computed in float32 under autocast.
        identity: int64 [N].
        domain: int64 [N].

    Returns:
        scalar; zero, with zero gradients, when no anchor has both negatives.
    """
    with torch.autocast(features.device.type, enabled=False):
        distances = euclidean_distances(features.float())
    same_domain = domain[:, None] == domain[None, :]
    between = ~same_domain
    within = same_domain & (identity[:, None] != identity[None, :])
    usable = between.any(1) & within.any(1)
    if not bool(usable.any()):
        return distances.sum() * 0
    farthest = distances.masked_fill(~between, -torch.inf).amax(1)
    nearest = distances.masked_fill(~within, torch.inf).amin(1)
    return F.softplus(farthest[usable] - nearest[usable]).mean()
