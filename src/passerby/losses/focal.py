"""Focal loss on mined pairs, the comparator of ISR's Table 6."""

import torch
from torch import Tensor


def focal(log_p: Tensor, gamma: float = 2.0) -> Tensor:
    """-(1 - p)^gamma log p, the mean over pairs (Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, eq. 4).

    It looks away from pairs that are matched well already, where ISR's loss looks at them. The gradient passes through
    (1 - p)^gamma, as in its paper.

    Args:
        log_p: float [K], log of the probability of each pair's positive.
        gamma: 0 is plain cross-entropy; its paper takes 2.

    Returns:
        scalar; zero, with zero gradients, when there are no pairs.
    """
    if not len(log_p):
        return log_p.sum()
    # 1 - p without cancellation; its power has no gradient at p = 1 for gamma < 1, so p stops short of it.
    miss = (-torch.expm1(log_p)).clamp(min=torch.finfo(log_p.dtype).tiny)
    return (miss**gamma * -log_p).mean()
