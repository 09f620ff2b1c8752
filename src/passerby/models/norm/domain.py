"""A norm with statistics of K domains: its own domain's, all mixed, or the colours of another."""

from collections.abc import Callable
from functools import partial
from typing import Literal, Self

import torch
from torch import Tensor, nn

from passerby.errors import PasserbyError
from passerby.models.norm.algebra import Statistics, standardise
from passerby.models.norm.bank import Bank, by_running, domain_statistics, rows
from passerby.models.norm.primitive import normalise, scaled
from passerby.models.norm.recolouring import After, recoloured
from passerby.models.route import Mode, Route, RoutedModule

DomainAffine = Literal["shared", "own"]
FEWEST_IMAGES = 4
"""A domain with fewer images in a batch is normalised by its running statistics."""
FEWEST_HIDDEN = 8
"""Units of the attention's hidden layer at least, in layers of few channels."""


class DomainNorm2d(RoutedModule):
    """A bank of running statistics, one set a domain, and the three ways through it that a `Route` names.

    `expert`: each image is normalised by its own domain (DSBN, Chang et al., CVPR 2019): in training by the batch's images of
    that domain over all processes, else by the domain's running statistics, and so is a domain with fewer than
    `FEWEST_IMAGES` images in the batch (ours). Only this mode, in training, moves the bank.

    `mix`: sum over k of alpha_k BN_k(x) with each domain's running statistics (DABN, Yan et al., "TAL", eq. 3 to 6);
    alpha = softmax(W2 relu(W1 GP(x))) for each image, or 1/K without attention. The experts' affine takes no gradient here
    unless `mix_trains_affine`. Ours: GP(x) is standardised by the statistics pooled over the domains, or all images would look alike
    to W1, and a route may leave experts out (`Route.without`).

    `recolour`: Anti-Normalization (Nie et al., "LDA"), in the colours that the route names; see `recoloured`. A layer that does not
    re-colour (`recolours`, ours) takes the way of `expert`, of an unknown domain the mean of all; the bank does not move.

    Each way is one scale and one shift per image and channel: nothing K times the size of the maps is made.

    Attributes:
        weight, bias: the affine, [C - h] shared by all domains, or [K, C - h].
        instance_weight, instance_bias: [h], affine of the channels that are instance-normalised in every mode (IBN-a's half).
        running_mean, running_var: [K, C - h], the bank.
        num_batches_tracked: int64 [K], batches that moved each domain's statistics.
        eps: added to a variance.
        momentum: weight of a new batch in a domain's statistics; None averages all of its batches evenly.
        hold_statistics: batches leave the bank alone.
        mix_trains_affine: `mix` gives gradients to the affine.
        experts: the first sets of the bank, which are of one domain each: all K, unless a last one is of images of all.
        recolours: the mode `recolour` re-colours here.
        squeeze, excite: W1 and W2 of the attention, or None.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(
        self,
        channels: int,
        domains: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        *,
        affine: DomainAffine = "shared",
        after: After = "source",
        attention: int = 0,
        instance_channels: int = 0,
    ) -> None:
        """Affine 1 and 0, statistics 0 and 1.

        Args:
            channels: C.
            domains: K.
            eps: added to a variance.
            momentum: of the bank.
            affine: one for all domains, or each its `own`.
            after: what follows the re-colouring.
            attention: reduction rate r of the attention of `mix` (the paper: 16); 0 builds none.
            instance_channels: h, the first channels, which are instance-normalised in every mode.
        """
        super().__init__()
        self.domains, self.eps, self.momentum, self.after = domains, eps, momentum, after
        self.instance_channels, self.hold_statistics, self.mix_trains_affine = instance_channels, False, False
        self.recolours, self.experts = True, domains
        by_domain = channels - instance_channels
        shape = (by_domain,) if affine == "shared" else (domains, by_domain)
        self.weight, self.bias = nn.Parameter(torch.ones(shape)), nn.Parameter(torch.zeros(shape))
        if instance_channels:
            self.instance_weight = nn.Parameter(torch.ones(instance_channels))
            self.instance_bias = nn.Parameter(torch.zeros(instance_channels))
        self.register_buffer("running_mean", torch.zeros(domains, by_domain))
        self.register_buffer("running_var", torch.ones(domains, by_domain))
        self.register_buffer("num_batches_tracked", torch.zeros(domains, dtype=torch.long))
        hidden = max(FEWEST_HIDDEN, by_domain // attention) if attention else 0
        self.squeeze = nn.Linear(by_domain, hidden, bias=False) if attention else None
        self.excite = nn.Linear(hidden, domains, bias=False) if attention else None

    @classmethod
    def of(
        cls,
        norm: nn.BatchNorm2d,
        domains: int,
        *,
        affine: DomainAffine = "shared",
        after: After = "source",
        attention: int = 0,
        half_instance: bool = False,
    ) -> Self:
        """A layer in the place of `norm`: every domain starts from its statistics and affine.

        Args:
            norm: the pretrained batch norm.
            domains: K.
            affine: as in `__init__`; a shared one is the very tensors of `norm`.
            after: as in `__init__`.
            attention: as in `__init__`.
            half_instance: the first half of the channels is instance-normalised in every mode (IBN-a).

        Raises:
            PasserbyError: when it has no affine or no running statistics.
        """
        if norm.weight is None or norm.running_mean is None or norm.running_var is None:
            raise PasserbyError(
                "models.norm: a batch norm without affine or running statistics has nothing to take over; leave it out"
            )
        half = norm.num_features // 2 if half_instance else 0
        layer = cls(
            norm.num_features,
            domains,
            norm.eps,
            norm.momentum,
            affine=affine,
            after=after,
            attention=attention,
            instance_channels=half,
        ).to(norm.weight)
        if affine == "shared" and not half:
            layer.weight, layer.bias = norm.weight, norm.bias
        else:
            layer.weight.data.copy_(norm.weight.data[half:])
            layer.bias.data.copy_(norm.bias.data[half:])
        if half:
            layer.instance_weight.data.copy_(norm.weight.data[:half])
            layer.instance_bias.data.copy_(norm.bias.data[:half])
        layer.running_mean.copy_(norm.running_mean[half:])
        layer.running_var.copy_(norm.running_var[half:])
        return layer.train(norm.training)

    @property
    def attention_parameters(self) -> list[nn.Parameter]:
        """W1 and W2, if there are any."""
        return [p for layer in (self.squeeze, self.excite) if layer is not None for p in layer.parameters()]

    @property
    def bank(self) -> Bank:
        """The running statistics of the K domains, as they are now: a copy, which later batches do not move."""
        return Bank(self.running_mean.clone(), self.running_var.clone())

    def forward(self, maps: Tensor) -> Tensor:
        """Normalises maps [N, C, h, w] the way that the current route says.

        Raises:
            PasserbyError: when there is no route, or an expert is asked for images of unknown domain.
        """
        route = self.route
        if route is None or (route.mode == "expert" and route.domain is None):
            raise PasserbyError(
                "models.norm: a domain norm has to know the way: give the model a Route with the domain of each image, or one "
                "of the modes mix and recolour"
            )
        still = route.mode == "mix" and not self.mix_trains_affine
        weight, bias = (self.weight.detach(), self.bias.detach()) if still else (self.weight, self.bias)
        if self._is_fixed(route):
            domain = None if route.mode == "mix" else route.domain
            return scaled(maps, *by_running(self.bank, domain, weight, bias, self.eps))
        # The affine, its instance half if there is one, then the attention if it takes part.
        parameters = [weight, bias]
        if self.instance_channels:
            parameters += [self.instance_weight, self.instance_bias]
        if route.mode == "mix" and self.squeeze is not None and self.excite is not None:
            parameters += [self.squeeze.weight, self.excite.weight]
        y, *observed = normalise(maps, partial(self._algebra, route), *parameters)
        if observed and not self.hold_statistics:
            self._observe(Statistics(*observed), maps.shape[2] * maps.shape[3])
        return y

    def _is_fixed(self, route: Route) -> bool:
        """Whether maps are normalised by running statistics, whatever they look like."""
        if self.instance_channels:
            return False
        if route.mode == "mix":
            return self.squeeze is None and route.without is None
        if route.mode == "recolour" and self.recolours:
            return False
        return not self.training or route.domain is None

    def _algebra(
        self, route: Route, mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor, *rest: Tensor
    ) -> tuple[Tensor, ...]:
        """Scale and shift of each map, and the batch's statistics where the bank should follow them."""
        half = self.instance_channels
        ways: dict[Mode, Callable[..., tuple[Tensor, ...]]] = {
            "expert": self._expert,
            "mix": partial(self._mix, attention=rest[2 if half else 0 :]),
            "recolour": self._recolour,
        }
        scale, shift, *observed = ways[route.mode](route, mean[:, half:], variance[:, half:], weight, bias)
        if half:
            of_image = standardise(mean[:, :half], variance[:, :half], rest[0], rest[1], self.eps)
            scale, shift = (
                torch.cat([a, b.expand(len(mean), -1)], 1) for a, b in zip(of_image, (scale, shift), strict=True)
            )
        return scale, shift, *observed

    def _expert(self, route: Route, mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
        if not self.training or route.domain is None:
            return by_running(self.bank, route.domain, weight, bias, self.eps)
        batch = domain_statistics(mean, variance, route.domain, self.domains)
        enough = batch.images >= FEWEST_IMAGES
        centre = torch.where(enough, batch.mean, self.running_mean)
        spread = torch.where(enough, batch.variance, self.running_var)
        tables = standardise(centre, spread, weight, bias, self.eps)
        return *(rows(table, route.domain) for table in tables), *batch

    def _mix(
        self,
        route: Route,
        mean: Tensor,
        variance: Tensor,
        weight: Tensor,
        bias: Tensor,
        attention: tuple[Tensor, ...],
    ) -> tuple[Tensor, ...]:
        alpha = self._alpha(route, mean, *attention)
        if alpha is None:
            return by_running(self.bank, None, weight, bias, self.eps)
        scale, shift = standardise(*self.bank, weight, bias, self.eps)
        return alpha @ scale, alpha @ shift

    def _recolour(
        self, route: Route, mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor
    ) -> tuple[Tensor, ...]:
        if not self.recolours:
            return self._expert(route, mean, variance, weight, bias)[:2]
        after: After = "pooled" if self.after == "batch" and not self.training else self.after
        return recoloured(self.bank, route, mean, variance, weight, bias, self.eps, after)

    def _alpha(self, route: Route, mean: Tensor, *attention: Tensor) -> Tensor | None:
        """The weights [N, K] of eq. 6; GP(x) is the mean that the primitive has at hand. None: all count alike."""
        if attention:
            squeeze, excite = attention
            centre, variance = self.bank.pooled()
            logits = torch.relu((mean - centre) * torch.rsqrt(variance + self.eps) @ squeeze.T) @ excite.T
        elif route.without is not None:
            logits = mean.new_zeros(len(mean), self.domains)
        else:
            return None
        return (logits if route.without is None else logits.masked_fill(route.without, -torch.inf)).softmax(1)

    @torch.no_grad()
    def _observe(self, batch: Statistics, places: int) -> None:
        """Moves the statistics of the domains that the batch has images enough of; the variance is made unbiased.

        A domain moves by its momentum if it has its even share of the batch or more, and with fewer images by less: in batches that
        are filled unevenly a few people would be taken for the domain.
        """
        seen = batch.images >= FEWEST_IMAGES
        self.num_batches_tracked += seen[:, 0]
        share = (batch.images * self.experts / batch.images.sum().clamp(min=1)).clamp(max=1)
        each = 1 / self.num_batches_tracked.clamp(min=1)[:, None] if self.momentum is None else self.momentum * share
        weight = (seen * each).to(self.running_mean.dtype)
        values = batch.images * places
        self.running_mean.lerp_(batch.mean.to(weight), weight)
        unbiased = batch.variance * (values / (values - 1).clamp(min=1))
        self.running_var.lerp_(unbiased.to(weight), weight)
