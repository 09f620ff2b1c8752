"""Anti-Normalization: maps in the colours of another domain, and what follows."""

from typing import Literal

import torch
from torch import Tensor

from passerby.models.norm.algebra import batch_statistics, standardise
from passerby.models.norm.bank import Bank, by_running, rows
from passerby.models.route import Route

After = Literal["source", "batch", "pooled", "none"]
"""What follows the re-colouring, see `recoloured`."""


def recoloured(
    bank: Bank,
    route: Route,
    mean: Tensor,
    variance: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    after: After,
) -> tuple[Tensor, Tensor]:
    """Scale and shift [N, C] of maps that are re-coloured and normalised again (Nie et al., "LDA", Anti-Normalization).

    c = (x - mu_in) / sqrt(var_in + eps) sqrt(var_j + eps) + mu_j, in the colours j of the route. What follows is ours, the poster
    stops here; `after` chooses it: `source`, the source domain's BN with its running statistics, with an unknown source
    domain the mean of the K; `batch`, a BN over the batch of the c; `pooled`, by the statistics pooled over domains; `none`, the
    affine alone. No gradient goes into the colours.

    Args:
        bank: of K domains.
        route: the colours, and the source domain of each image, if it is known.
        mean: [N, C], of each image over places.
        variance: [N, C], biased.
        weight: of the affine, [C] or [K, C].
        bias: likewise.
        eps: added to a variance.
        after: see above.
    """
    if isinstance(route.colour, Tensor):
        colour: Tensor | None = route.colour
    else:
        colour = bank.nearest(mean.detach(), variance.detach(), eps) if route.colour == "nearest" else None
    centre, square = rows(bank.mean, colour), rows(bank.variance, colour) + eps
    if after == "source":
        scale, shift = by_running(bank, route.domain, weight, bias, eps)
    else:
        scale, shift = rows(weight, route.domain), rows(bias, route.domain)
        if after == "pooled":
            scale, shift = standardise(*bank.pooled(), scale, shift, eps)
        elif after == "batch":
            # The variance of c, whose mean is that of its colour.
            batch = batch_statistics(centre.expand_as(variance), variance / (variance + eps) * square)
            scale, shift = standardise(batch.mean, batch.variance, scale, shift, eps)
    scale, shift = scale * square.sqrt(), shift + scale * centre
    scale = scale * torch.rsqrt(variance + eps)
    return scale, torch.addcmul(shift, scale, mean, value=-1)
