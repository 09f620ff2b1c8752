"""The model: images in, features out."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, Self, get_args

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from passerby.data.images import Preprocessing
from passerby.errors import PasserbyError
from passerby.matching.settings import MatcherSettings
from passerby.models.backbone import Backbone
from passerby.models.embedder import Embedder
from passerby.models.freeze import evaluating
from passerby.models.granularity import Granularities, MultiGranularity
from passerby.models.heads import PartHeads, Parts
from passerby.models.neck import RoutedBatchNorm1d
from passerby.models.norm import InstanceStart
from passerby.models.norm_kinds import BANKED, BankSettings, NormKind, install_norms
from passerby.models.route import Route, routed
from passerby.models.unknown import Unknown, check_route, each_domain, fold


class Architecture(BaseModel):
    """What it takes to build a model again before its weights are loaded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: str
    """Name of the network in timm."""
    last_stride_1: bool = True
    stages: tuple[str, ...] = ()
    """Stages of the network whose maps are put out beside the last one."""
    norm: NormKind = "batch"
    instance_start: InstanceStart = "copy"
    """Where the instance norm's affine in `bin` starts."""
    bank: BankSettings = BankSettings()
    """Of domain norms."""
    unknown: Unknown = "bank"
    """How a model with domain norms looks at images of unknown domain."""
    embedding: int = Field(0, ge=0)
    """Width of the embedding, made by a linear layer after pooling; 0: the pooled map as it is, as wide as the network's."""
    head: Literal["pooled", "mgn"] = "pooled"
    """What makes the embedding of the last map: average pooling and a BNNeck, or MGN's three branches (ResNets)."""
    stripes: int = Field(0, ge=0)
    """Horizontal stripes that part heads look at; 0: no part heads."""
    matcher: MatcherSettings = MatcherSettings()
    """How two images are compared."""

    @model_validator(mode="after")
    def _branches_stand_alone(self) -> Self:
        if self.head == "mgn" and (self.embedding or self.stripes or self.stages):
            raise ValueError("mgn's branches take no embedding, stripes or stages; leave these out")
        return self


@dataclass(frozen=True)
class Features:
    """What a model says of N images.

    Attributes:
        embedding: [N, D], after the BNNeck: what is compared at test time.
        pooled: [N, D], before the BNNeck: what metric losses see.
        maps: [N, C, h, w] by stage; `last` is the network's last map.
        parts: what the part heads say, when asked for.
        granularities: what MGN's branches say, in a model that has them.
    """

    embedding: Tensor
    pooled: Tensor
    maps: dict[str, Tensor] = field(default_factory=dict)
    parts: Parts | None = None
    granularities: Granularities | None = None


class Model(nn.Module, Embedder):
    """Backbone, global average pooling and BNNeck (Luo et al., "Bag of Tricks", CVPRW 2019).

    Attributes:
        architecture: how it was built.
        preprocessing: what its input looks like.
        width: of one feature, as metric losses and classifiers see it.
        projection: what makes a pooled map as wide as the embedding, or None.
        neck: the BNNeck; with domain norms it has statistics for each mode.
        unknown: how images of unknown domain are looked at, as the architecture says until somebody chooses otherwise; models
            without domain norms look at all images alike.
        parts: the part heads, or None.
        granularity: MGN's branches, or None; their features, one after the other, are the embedding, and there is no BNNeck.
        weights_sha256: of the file that its weights were loaded from; None for a model that was not loaded.
        site: what it was adapted to, while it wears a site profile; None: it is as it was trained.
    """

    weights_sha256: str | None = None
    site: str | None = None

    def __init__(
        self,
        architecture: Architecture,
        preprocessing: Preprocessing,
        prepare: Callable[[Backbone], None] = lambda _: None,
    ) -> None:
        """Builds the model.

        Args:
            architecture: what to build.
            preprocessing: what its input looks like.
            prepare: loads weights into the backbone, random until then, before its norms are changed.
        """
        super().__init__()
        self.architecture, self.preprocessing = architecture, preprocessing
        size = (preprocessing.height, preprocessing.width)
        self.backbone = Backbone(architecture.backbone, size, architecture.last_stride_1, architecture.stages)
        prepare(self.backbone)
        install_norms(self.backbone, architecture.norm, architecture.instance_start, architecture.bank)
        self.domains = architecture.bank.domains if architecture.norm in BANKED else 0
        self.unknown: Unknown = architecture.unknown
        self.projection = (
            nn.Linear(self.backbone.channels, architecture.embedding, bias=False) if architecture.embedding else None
        )
        self.width = architecture.embedding or self.backbone.channels
        self.granularity: MultiGranularity | None = None
        self.neck: nn.Module = nn.Identity()
        if architecture.head == "mgn":
            self.granularity = MultiGranularity(self.backbone, architecture.last_stride_1)
            self.width = self.granularity.dimension
        else:
            self.neck = RoutedBatchNorm1d(self.width) if self.domains else nn.BatchNorm1d(self.width)
            self.neck.bias.requires_grad_(False)
        self.parts = PartHeads(self.backbone.channels, architecture.stripes) if architecture.stripes else None
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor, route: Route | None = None, parts: bool = False) -> Features:
        """Features of a batch.

        Args:
            images: float [N, 3, H, W], normalised.
            route: what domain-aware norms need to know; plain norms ignore it. At test time, with domain norms, None is the
                way of `unknown`.
            parts: ask the part heads too, where the model has them.

        Raises:
            PasserbyError: when domain norms have no route in training, or one that does not fit.
        """
        if self.domains and route is None and not self.training:
            return self._of_unknown(images, parts)
        if self.domains and route is not None:
            check_route(route, len(images), self.domains)
        if self.granularity is not None:
            with routed(self, route):
                seen = self.granularity(self.backbone.network, images)
            embedding = seen.reduced.flatten(1)
            return Features(embedding, embedding, {"last": seen.last}, None, seen)
        with routed(self, route):
            last, maps = self.backbone(images)
            # Pooling and BNNeck run in float32 under autocast.
            pooled = last.float().mean((2, 3))
            with torch.autocast(images.device.type, enabled=False):
                if self.projection is not None:
                    pooled = self.projection(pooled)
                embedding = self.neck(pooled)
        of_parts = self.parts(last) if parts and self.parts is not None else None
        return Features(embedding, pooled, {**maps, "last": last}, of_parts)

    def _of_unknown(self, images: Tensor, parts: bool) -> Features:
        """Features of images whose domain is unknown."""
        if self.unknown not in get_args(Unknown):
            raise PasserbyError(f"model.unknown: no way '{self.unknown}'; one of {', '.join(get_args(Unknown))}")
        if self.unknown == "mix":
            return self.forward(images, Route(None, "mix"), parts)
        if self.unknown in ("bank", "nearest"):
            return self.forward(images, Route(None, "recolour", self.unknown), parts)
        # K ways of the same images are one batch with K routes.
        domain = each_domain(len(images), self.domains, images.device)
        route = Route(None, "recolour", domain) if self.unknown == "colours" else Route(domain)
        of_all = self.forward(images.repeat(self.domains, 1, 1, 1), route)
        embedding = fold(F.normalize(of_all.embedding), self.domains)
        pooled = fold(of_all.pooled, self.domains)
        maps = {name: fold(maps, self.domains) for name, maps in of_all.maps.items()}
        if self.unknown == "both":
            aligned = self.forward(images, Route(None, "recolour"))
            embedding = torch.cat([F.normalize(embedding), F.normalize(aligned.embedding)], 1)
        return Features(embedding, pooled, maps)

    @property
    def dimension(self) -> int:
        """D of the embedding; twice the width of the feature where `unknown` is `both`."""
        return self.width * (2 if self.domains and self.unknown == "both" else 1)

    def pretrained_parameters(self) -> Iterator[nn.Parameter]:
        """Those that start from the network's own weights: all but heads and necks. MGN's branches are copies of it."""
        yield from self.backbone.parameters()
        if self.granularity is not None:
            yield from self.granularity.branches.parameters()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.backbone.parameters()).device

    def embed_batch(self, pixels: Tensor) -> Tensor:
        """Embeddings of one batch of RGB pixels [N, 3, H, W] in [0, 255], flip not averaged, not normalised: [N, D]."""
        with evaluating(self), torch.inference_mode():
            return self.forward(self.preprocessing.normalise(pixels)).embedding
