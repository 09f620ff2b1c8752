"""Anti-Normalization: maps in the colours of another domain, and what follows."""

from typing import Literal

import torch
from torch import Tensor

from passerby.models.norm.algebra import batch_statistics, standardise
from passerby.models.norm.bank import Bank, rows
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
    white = torch.rsqrt(variance + eps)
    if after == "batch":
        centre, square = rows(bank.mean, colour), rows(bank.variance, colour) + eps
        # The variance of c, whose mean is that of its colour.
        batch = batch_statistics(centre.expand_as(variance), variance * white.square() * square)
        own = rows(weight, route.domain), rows(bias, route.domain)
        scale, shift = standardise(batch.mean, batch.variance, *own, eps)
        scale, shift = scale * square.sqrt(), torch.addcmul(shift, scale, centre)
    else:
        own = (weight, bias)
        if after != "none":
            own = standardise(*(bank if after == "source" else bank.pooled()), weight, bias, eps)
        scale, shift = _of_whitened(bank, own, route.domain, colour, eps)
    scale = scale * white
    return scale, torch.addcmul(shift, scale, mean, value=-1)


def _of_whitened(
    bank: Bank, own: tuple[Tensor, Tensor], domain: Tensor | None, colour: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    """Scale and shift of whitened maps that are coloured, then scaled and shifted by `own` ([C] or [K, C]): [N, C] or [C].

    They are made for each pair of a source and a colour; images take those of their pair.
    """
    scale, shift = (_table(values, domain)[:, None] for values in own)
    centre, variance = (_table(values, colour) for values in bank)
    tables = scale * (variance + eps).sqrt(), torch.addcmul(shift, scale, centre)
    index = domain * len(centre) if domain is not None and len(scale) > 1 else None
    if colour is not None:
        index = colour if index is None else index + colour
    scale, shift = (rows(table.flatten(0, 1), index) for table in tables)
    return scale, shift


def _table(values: Tensor, index: Tensor | None) -> Tensor:
    """Rows that images may take, [K, C]; [1, C] where all take the same, of an unknown domain the mean."""
    return values if values.ndim == 2 and index is not None else rows(values, None)[None]
