"""Images of unknown domain before a model with statistics of K domains: the ways to look at them."""

from typing import Literal

import torch
from torch import Tensor

from passerby.errors import PasserbyError
from passerby.models.route import Route

Unknown = Literal["bank", "nearest", "colours", "experts", "both", "mix"]
"""`bank`: re-coloured with the mean of the domains' statistics. `nearest`: in every layer with those of the domain nearest to the
image. `colours`: with each domain's in turn, mean of the K features. `experts`: normalised by each domain's own
statistics in turn, mean of the K features. `both`: the features of `experts` and of `bank` side by side. `mix`: by all
experts mixed in every layer. Features that are averaged or put side by side are of length 1 before."""


def each_domain(images: int, domains: int, device: torch.device) -> Tensor:
    """The domains of a batch that is repeated K times, int64 [K N]: the first N are 0, the next 1, ..."""
    return torch.arange(domains, device=device).repeat_interleave(images)


def fold(values: Tensor, domains: int) -> Tensor:
    """Mean over the K repetitions of a batch, [K N, ...] -> [N, ...]."""
    return values.reshape(domains, -1, *values.shape[1:]).mean(0)


def check_route(route: Route, images: int, domains: int) -> None:
    """Sees whether a route fits a batch of so many images and a model of so many domains.

    Raises:
        PasserbyError: when it does not.
    """
    for name, index in (("domain", route.domain), ("colour", route.colour)):
        if not isinstance(index, Tensor):
            continue
        if index.shape != (images,):
            raise PasserbyError(
                f"route.{name}: of shape {list(index.shape)}; give int64 [{images}], one for each image"
            )
        if images and not 0 <= int(index.min()) <= int(index.max()) < domains:
            raise PasserbyError(
                f"route.{name}: domains from {int(index.min())} to {int(index.max())}, but the model has statistics of "
                f"{domains}, counted from 0"
            )
