"""What domain-aware norms need to know about a batch, for the length of one forward."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn


@dataclass(frozen=True)
class Route:
    """Which way a batch takes through domain-aware norms; plain norms never see it.

    Attributes:
        domain: int64 [N], the domain of each image, or None where it is unknown.
        mode: `expert` (each image by its own domain's statistics), `mix` (all experts mixed) or `recolour` (the style
            of another domain).
    """

    domain: Tensor | None
    mode: Literal["expert", "mix", "recolour"] = "expert"


class RoutedModule(nn.Module):
    """A layer that reads the route of the current forward: None outside of one, or where the caller gave none."""

    route: Route | None = None


@contextmanager
def routed(model: nn.Module, route: Route | None) -> Iterator[None]:
    """Hands `route` to every `RoutedModule` of `model` for the length of the block, also when the block raises."""
    layers = [m for m in model.modules() if isinstance(m, RoutedModule)]
    for layer in layers:
        layer.route = route
    try:
        yield
    finally:
        for layer in layers:
            layer.route = None
