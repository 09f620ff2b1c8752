"""MetaBIN's intra-domain scatter loss."""

import torch
import torch.nn.functional as F
from torch import Tensor


def intra_domain_scatter(features: Tensor, domain: Tensor) -> Tensor:
    """Mean cosine of each image to the centroid of its domain (Choi et al., "MetaBIN", CVPR 2021, eq. 6).

    Minimised, it spreads the images of every domain. The centroid is the mean of L2-normalised features, so that no
    image weighs by its length (ours; the paper says mean feature vector).

    Args:
        features: float [N, D]; computed in float32 under autocast.
        domain: int64 [N].

    Returns:
        scalar.
    """
    with torch.autocast(features.device.type, enabled=False):
        directions = F.normalize(features.float())
        member = F.one_hot(domain, int(domain.max()) + 1).to(directions.dtype)
        centroids = member.T @ directions / member.sum(0).clamp(min=1)[:, None]
        return F.cosine_similarity(directions, centroids[domain]).mean()
