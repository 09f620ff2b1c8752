"""What domain-aware norms need to know about a batch, for the length of one forward."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

Mode = Literal["expert", "mix", "recolour"]
MODES: tuple[Mode, ...] = get_args(Mode)


@dataclass(frozen=True)
class Route:
    """Which way a batch takes through domain-aware norms; plain norms never see it.

    Attributes:
        domain: int64 [N], the domain of each image, or None where it is unknown.
        mode: `expert` (each image by its own domain's statistics), `mix` (all experts mixed) or `recolour` (the style
            of another domain).
        colour: what `recolour` colours each image with: domains int64 [N] (`other_domains` draws them), the mean of the
            `bank`, or in every layer the domain `nearest` to the image.
        without: bool [N, K], experts that take no part when an image is mixed, at least one does; None: all do.
    """

    domain: Tensor | None
    mode: Mode = "expert"
    colour: Tensor | Literal["bank", "nearest"] = "bank"
    without: Tensor | None = None


def other_domains(domain: Tensor, domains: int, generator: torch.Generator) -> Tensor:
    """Draws for each image one of the domains that are not its own, all alike likely.

    Args:
        domain: int64 [N].
        domains: K, at least 2.
        generator: on the CPU; the draw depends on it alone, whatever the device.

    Returns:
        int64 [N], on the device of `domain`.
    """
    steps = torch.randint(1, domains, domain.shape, generator=generator)
    return (domain + steps.to(domain.device)) % domains


class RoutedModule(nn.Module):
    """A layer that reads the route of the current forward: None outside of one, or where the caller gave none."""

    route: Route | None = None


@contextmanager
def routed(model: nn.Module, route: Route | None) -> Iterator[None]:
    """Hands `route` to every `RoutedModule` of `model` for the length of the block, also when the block raises.

    Blocks nest. The layers hold the route, so one model serves one thread at a time; two models in two threads do not meet.
    """
    layers = [(m, m.route) for m in model.modules() if isinstance(m, RoutedModule)]
    for layer, _ in layers:
        layer.route = route
    try:
        yield
    finally:
        for layer, outer in layers:
            layer.route = outer
