"""The norms that a backbone can be built with, by name, and where each stands in it."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from passerby.errors import PasserbyError, nearest
from passerby.models.backbone import Backbone
from passerby.models.norm import (
    After,
    BatchInstanceNorm2d,
    DomainAffine,
    DomainNorm2d,
    HalfInstanceNorm2d,
    InstanceNorm2d,
    InstanceStart,
    OneAffineBatchInstanceNorm2d,
    SyncBatchNorm2d,
)
from passerby.models.surgery import append_norms, replace_norms

NormKind = Literal[
    "batch",
    "synchronised",
    "instance",
    "half",
    "bin",
    "bin-one-affine",
    "ibn-a",
    "ibn-b",
    "dualnorm",
    "isr",
    "domain",
    "domain-ibn-a",
]
"""`batch` leaves the network as it is. `synchronised` (batch norm over all processes), `instance`, `half` (IN on half of the
channels), `bin` (MetaBIN's batch-instance norm) and `bin-one-affine` (Nam & Kim's) replace every batch norm. `ibn-a`
(IN on half of the channels of each block's first norm) and `ibn-b` (IN in the stem and after blocks) follow Pan et al.,
ECCV 2018; `dualnorm` (IN after blocks) Jia et al., 2019; `isr` (IN at the end of the first two stages) Dou et al., ICCV 2023. `domain`
(statistics of each training domain) replaces every batch norm; in `domain-ibn-a` the IN halves of `ibn-a` stay as they are for all
domains, and the rest is the domains'."""

BANKED: tuple[NormKind, ...] = ("domain", "domain-ibn-a")
"""Kinds with statistics of each domain."""


class BankSettings(BaseModel):
    """What domain norms (`model.norm` of `domain` or `domain-ibn-a`) are built with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    domains: int = Field(0, ge=0)
    """K; 0: as many as the training data have, which training fills in."""
    affine: DomainAffine = "shared"
    """One affine for all domains, or each its `own` (DSBN)."""
    after: After = "source"
    """What follows Anti-Normalization's re-colouring: the BN of the source domain, of the hybrid `batch`, by `pooled` statistics,
    or `none`."""
    recoloured: tuple[str, ...] = ()
    """Modules of the network, by the beginnings of their names, whose norms re-colour (`bn1`, `blocks.0`, `layer1`); the others
    normalise by the image's own domain as ever. Empty: all re-colour. A norm that re-colours lets no difference between images in
    mean and contrast through: at the end of a network that is all that average pooling would have seen."""
    attention: int = Field(0, ge=0)
    """Reduction rate of the attention that mixes experts (TAL: 16); 0: experts count alike, without any new parameter."""


def install_norms(
    backbone: Backbone, kind: NormKind, start: InstanceStart = "copy", bank: BankSettings | None = None
) -> None:
    """Performs the surgery that `kind` asks for.

    Args:
        backbone: with its pretrained weights, which the new layers take over.
        kind: see `NormKind`.
        start: of the instance norm's affine in `bin`.
        bank: of domain norms.

    Raises:
        PasserbyError: for a network without batch norms, one in which the place of such norms is not known, and domain norms
            without a number of domains.
    """
    network, size = backbone.network, backbone.image_size
    everywhere: dict[str, Callable[[nn.BatchNorm2d], nn.Module]] = {
        "synchronised": SyncBatchNorm2d.of,
        "instance": InstanceNorm2d.of,
        "half": HalfInstanceNorm2d.of,
        "bin": partial(BatchInstanceNorm2d.of, start=start),
        "bin-one-affine": OneAffineBatchInstanceNorm2d.of,
    }
    if kind in everywhere:
        replace_norms(network, everywhere[kind])
    elif kind in BANKED:
        _install_domain_norms(backbone, kind, bank or BankSettings())
    elif kind == "ibn-a":
        replace_norms(network, HalfInstanceNorm2d.of, _places(backbone).first_norms)
    elif kind == "ibn-b":
        replace_norms(network, InstanceNorm2d.of, "bn1")
        append_norms(network, InstanceNorm2d, _places(backbone).after_ibn_b, size)
    elif kind == "dualnorm":
        append_norms(network, InstanceNorm2d, _places(backbone).after_dualnorm, size)
    elif kind == "isr":
        append_norms(network, InstanceNorm2d, _places(backbone).after_isr, size)


def domain_norm(bank: BankSettings, half_instance: bool = False) -> Callable[[nn.BatchNorm2d], DomainNorm2d]:
    """Makes domain norms of batch norms.

    Args:
        bank: what they are built with.
        half_instance: the first half of the channels is instance-normalised.
    """
    return partial(
        DomainNorm2d.of,
        domains=bank.domains,
        affine=bank.affine,
        after=bank.after,
        attention=bank.attention,
        half_instance=half_instance,
    )


def _install_domain_norms(backbone: Backbone, kind: NormKind, bank: BankSettings) -> None:
    if bank.domains == 0:
        raise PasserbyError(
            f"model.norm={kind}: statistics of how many domains? set model.bank.domains (passerby train counts them itself)"
        )
    if kind == "domain-ibn-a":
        replace_norms(backbone.network, domain_norm(bank, half_instance=True), _places(backbone).first_norms)
    replace_norms(backbone.network, domain_norm(bank))
    _choose_recoloured(backbone, bank.recoloured)


def _choose_recoloured(backbone: Backbone, places: tuple[str, ...]) -> None:
    layers = {name: m for name, m in backbone.network.named_modules() if isinstance(m, DomainNorm2d)}
    for place in places:
        if not any(_is_in(name, place) for name in layers):
            known = list(dict.fromkeys(".".join(name.split(".")[:2]) for name in layers))
            raise PasserbyError(
                f"model.bank.recoloured: no norm of {backbone.name} stands in '{place}'; {nearest(place, known)}"
            )
    for name, layer in layers.items():
        layer.recolours = not places or any(_is_in(name, place) for place in places)


def _is_in(name: str, place: str) -> bool:
    return name == place or name.startswith(f"{place}.")


class _Places:
    """Names in a network, as regular expressions.

    Attributes:
        first_norms: the first norm of each block of the shallow stages (all but the last).
        after_dualnorm: blocks that DualNorm's instance norm follows.
        after_ibn_b: blocks that IBN-b's instance norm follows.
        after_isr: blocks that ISR's follows: the last ones of strides 4 and 8.
    """

    def __init__(self, first_norms: str, after_dualnorm: str, after_ibn_b: str, after_isr: str) -> None:
        self.first_norms, self.after_dualnorm = first_norms, after_dualnorm
        self.after_ibn_b, self.after_isr = after_ibn_b, after_isr


def _places(backbone: Backbone) -> _Places:
    network: Any = backbone.network
    if hasattr(network, "layer3"):  # ResNet and its kin: the last block of a stage
        last = [rf"layer{k}\.{len(getattr(network, f'layer{k}')) - 1}" for k in (1, 2, 3)]
        return _Places(r"layer[1-3]\.\d+\.bn1", "|".join(last), "|".join(last[:2]), "|".join(last[:2]))
    if hasattr(network, "blocks") and hasattr(
        network, "conv_stem"
    ):  # MobileNet and EfficientNet: every block of stages 1-4
        last = [rf"blocks\.{k}\.{len(network.blocks[k]) - 1}" for k in (1, 2)]
        return _Places(r"blocks\.[1-4]\.\d+\.bn1", r"blocks\.[1-4]\.\d+", r"blocks\.[12]\.\d+", "|".join(last))
    raise PasserbyError(
        f"model.norm: where these norms stand in {backbone.name} is not known; take a ResNet or a MobileNet, or "
        "bin, half or instance, which replace every batch norm"
    )
