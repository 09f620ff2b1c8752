"""ISR's reliability-guided contrastive loss."""

import torch
from torch import Tensor


def log_reliability(
    anchor: Tensor, others: Tensor, positive: Tensor, candidates: Tensor, temperature: float = 0.1
) -> Tensor:
    """Log of the reliability of mined pairs (Dou et al., "ISR", ICCV 2023, eq. 2).

    The reliability p of a pair is the softmax probability of its positive among all candidates.

    Args:
        anchor: float [K, D], rows of length 1; computed in float32 under autocast.
        others: float [N, D], rows of length 1.
        positive: int64 [K], row of `others` that each anchor is matched with; one of its candidates.
        candidates: bool [K, N], the rows of `others` that the softmax of each anchor runs over.
        temperature: tau; the paper does not say which.

    Returns:
        [K], log p <= 0.
    """
    with torch.autocast(anchor.device.type, enabled=False):
        logits = (_wide(anchor) @ _wide(others).T / temperature).masked_fill(~candidates, -torch.inf)
        return logits.gather(1, positive[:, None])[:, 0] - logits.logsumexp(1)


def reliability_guided(log_p: Tensor, gamma: float = 6.0) -> Tensor:
    """-p^gamma log p without a gradient through p^gamma, rescaled (Dou et al., "ISR", ICCV 2023, eq. 3 and 4).

    The rescaling alpha brings the value to that of gamma = 0, the mean of -log p; it has no gradient either, and is
    bounded where all pairs of weight are certain, and so lose nothing.

    Args:
        log_p: float [K], see `log_reliability`.
        gamma: how strictly unreliable pairs are passed over; 0 is plain cross-entropy.

    Returns:
        scalar; zero, with zero gradients, when there are no pairs.
    """
    if not len(log_p):
        return log_p.sum()
    plain = -log_p
    # alpha p^gamma does not change when all p^gamma are divided by the largest, which keeps them from vanishing.
    weight = (gamma * (log_p.detach() - log_p.detach().amax())).exp()
    weighted = (weight * plain.detach()).sum()
    alpha = torch.where(weighted > 0, plain.detach().sum() / weighted.clamp(min=1e-30), torch.ones_like(weighted))
    return alpha * (weight * plain).mean()


def _wide(features: Tensor) -> Tensor:
    return features.to(torch.promote_types(features.dtype, torch.float32))
