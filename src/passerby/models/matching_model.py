"""A model that compares images place by place: it puts out descriptors, and keeps the matcher that it was trained with."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from passerby.data.cache import cache_folder
from passerby.data.images import Preprocessing
from passerby.errors import PasserbyError
from passerby.matching.experts import TwoStreamQAConv
from passerby.matching.store import half_rows
from passerby.models.backbone import Backbone
from passerby.models.freeze import evaluating
from passerby.models.model import Architecture, Features, Model
from passerby.models.norm import DomainNorm2d
from passerby.models.norm_kinds import BANKED, domain_norm
from passerby.models.projection import MapProjection
from passerby.models.route import Route, routed
from passerby.models.surgery import replace_norms
from passerby.models.unknown import check_route, each_domain

Stream = Literal["experts", "mix"]
"""TAL's domain-specific stream, where experts see an image, and the domain-invariant one, where they are mixed."""


class MatchingModel(Model):
    """Backbone up to the last of its `stages`, a projection of each stage's map, and a matcher of maps; no BNNeck.

    With domain norms it looks at an image several times: once as each expert of TAL's domain-specific stream, once by the
    domain-invariant one. The embedding, which an index searches and a cascade starts from, is of the matcher's own maps: see
    `striped`.

    Attributes:
        projections: one a stage.
        matcher: what compares.
        unknown: in a model of two streams, the one that it looks by, or `both`.
    """

    def __init__(
        self,
        architecture: Architecture,
        preprocessing: Preprocessing,
        prepare: Callable[[Backbone], None] = lambda _: None,
    ) -> None:
        """Builds the model; see `Model`.

        Raises:
            PasserbyError: when the architecture has no stages to match, or streams and norms do not go together.
        """
        settings, domains = architecture.matcher, architecture.bank.domains
        _check(architecture)
        # The plain batch statistics of all domains are one more set beside the experts'.
        extra = int(settings.invariant == "batch")
        bank = architecture.bank.model_copy(update={"domains": domains + extra})
        super().__init__(architecture.model_copy(update={"bank": bank}), preprocessing, prepare)
        del self.neck
        self.architecture, self.domains = architecture, domains if architecture.norm in BANKED else 0
        self._sets = self.domains + extra
        self.backbone.end_with_stages()
        maps = self._first_maps()
        self.projections = nn.ModuleList(MapProjection(m.shape[1], settings.channels, settings.kernel) for m in maps)
        if self.domains:
            replace_norms(self.projections, domain_norm(bank))
        for layer in self.modules():
            if isinstance(layer, DomainNorm2d):
                layer.experts = self.domains
        self.matcher = settings.build(tuple((m.shape[2], m.shape[3]) for m in maps), self.domains)
        self.unknown = "both" if settings.two_streams else architecture.unknown
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor, route: Route | None = None, parts: bool = False) -> Features:
        """Descriptors of a batch.

        Args:
            images: float [N, 3, H, W], normalised.
            route: what domain norms need to know. At test time, with domain norms, None is every view: [N, views x C, h, w].
            parts: this model has none.

        Returns:
            maps [N, C, h, w] by stage, of length 1 over channels, and what `striped` makes of them.

        Raises:
            PasserbyError: when domain norms have no route in training, or one that does not fit.
        """
        if self.domains and route is None and not self.training:
            seen = [view.transpose(0, 1) for view in self.look(images)]
            pooled = torch.cat([self._pooled([m[:, k] for m in seen]) for k in range(self.views)], 1)
            return Features(pooled, pooled, self._by_stage([m.flatten(1, 2) for m in seen]))
        if self.domains and route is not None:
            check_route(route, len(images), self._sets)
        with routed(self, route):
            maps = self.backbone(images)[1]
            seen = [projection(maps[stage]) for projection, stage in zip(self.projections, maps, strict=True)]
        pooled = self._pooled(seen)
        return Features(pooled, pooled, self._by_stage(seen))

    def look(self, images: Tensor) -> list[Tensor]:
        """What the matcher takes of images of unknown domain: of each stage, [views, N, C, h, w]."""
        views: list[list[Tensor]] = []
        if not self.domains:
            views.append([m[None] for m in self.forward(images).maps.values()])
        if self.architecture.matcher.specific != "none":
            views.append(self.experts(images))
        if self.architecture.matcher.invariant != "none":
            views.append([m[None] for m in self.forward(images, self.invariant_route(images)).maps.values()])
        return [torch.cat(of_stage) for of_stage in zip(*views, strict=True)]

    def experts(self, images: Tensor) -> list[Tensor]:
        """The same images seen by each expert: of each stage, [K, N, C, h, w]. One forward of K routes."""
        route = Route(each_domain(len(images), self.domains, images.device))
        repeated = images.repeat(self.domains, 1, 1, 1).contiguous(memory_format=torch.channels_last)
        maps = self.forward(repeated, route).maps.values()
        return [m.view(self.domains, -1, *m.shape[1:]) for m in maps]

    def keep_stream(self, stream: Stream) -> None:
        """Leaves one of two streams, to be measured by itself as in TAL's tables 3 to 5; what is left is not for saving.

        Args:
            stream: which.

        Raises:
            PasserbyError: when there are not two.
        """
        if not isinstance(self.matcher, TwoStreamQAConv):
            raise PasserbyError(f"models: of two streams '{stream}' can be kept, this model has not two")
        self.matcher = self.matcher.specific if stream == "experts" else self.matcher.invariant
        left_out = "invariant" if stream == "experts" else "specific"
        settings = self.architecture.matcher.model_copy(update={left_out: "none"})
        self.architecture = self.architecture.model_copy(update={"matcher": settings})
        self.unknown = stream

    def invariant_route(self, images: Tensor) -> Route:
        """The way of the domain-invariant stream."""
        if self.architecture.matcher.invariant == "mix":
            return Route(None, "mix")
        return Route(torch.full((len(images),), self.domains, device=images.device))

    @property
    def views(self) -> int:
        """How often it looks at an image."""
        return self.matcher.layout.views

    @property
    def dimension(self) -> int:
        """D of the embedding."""
        settings = self.architecture.matcher
        return self.views * len(self.projections) * settings.stripes * settings.channels

    def describe(
        self, images: Sequence[str | Path | np.ndarray], *, progress: bool = False, folder: Path | None = None
    ) -> tuple[Tensor, Tensor]:
        """Everything that a search by this model needs of images.

        Args:
            images: paths, or RGB arrays, uint8 [h, w, 3].
            progress: show a bar.
            folder: where maps go that outgrow memory; default the cache's folder.

        Returns:
            embeddings, float32 [N, D], rows of length 1; and rows for the matcher, float16 [N, F], both on the CPU.

        Raises:
            PasserbyError: for unreadable images, and no room for the maps.
        """
        embeddings = torch.empty(len(images), self.dimension)
        rows = half_rows(len(images), self.matcher.layout.width, folder or cache_folder())
        start = 0
        for pixels in self.pixel_batches(images, progress=progress):
            stop = start + len(pixels)
            embeddings[start:stop], rows[start:stop] = self.describe_batch(pixels)
            start = stop
        return embeddings, rows

    def describe_batch(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings [N, D] of length 1 and rows for the matcher [N, F] of RGB pixels [N, 3, H, W] in [0, 255]."""
        with evaluating(self), torch.inference_mode():
            seen = self.look(self.preprocessing.normalise(pixels))
            pooled = torch.cat([self._pooled([m[k] for m in seen]) for k in range(self.views)], 1)
            return F.normalize(pooled), self.matcher.layout.row(seen)

    def _pooled(self, maps: Sequence[Tensor]) -> Tensor:
        return striped(maps, self.architecture.matcher.stripes)

    def _by_stage(self, maps: Iterable[Tensor]) -> dict[str, Tensor]:
        return dict(zip(self.backbone.stages_in_order, maps, strict=True))

    @torch.no_grad()
    def _first_maps(self) -> list[Tensor]:
        """The stages' maps of one black image."""
        with evaluating(self), routed(self, Route(None, "mix")):
            black = torch.zeros(1, 3, self.preprocessing.height, self.preprocessing.width)
            return list(self.backbone(black)[1].values())


def striped(maps: Sequence[Tensor], stripes: int) -> Tensor:
    """The mean descriptor of each horizontal stripe of each map, of length 1, side by side.

    People stand upright: a stripe of one image shows about what that of another one does, and places that match lie in it.

    Args:
        maps: [N, C, h, w] of each stage.
        stripes: of each map.

    Returns:
        [N, stages x C x stripes].
    """
    return torch.cat([F.normalize(F.adaptive_avg_pool2d(m, (stripes, 1))).flatten(1) for m in maps], 1)


def build_model(
    architecture: Architecture,
    preprocessing: Preprocessing,
    prepare: Callable[[Backbone], None] = lambda _: None,
) -> Model:
    """The model that an architecture describes; see `Model`."""
    kind = Model if architecture.matcher.kind == "cosine" else MatchingModel
    return kind(architecture, preprocessing, prepare)


def _check(architecture: Architecture) -> None:
    streams = (architecture.matcher.specific, architecture.matcher.invariant) != ("none", "none")
    banked = architecture.norm in BANKED
    if not architecture.stages:
        raise PasserbyError(
            "model.matcher.kind=qaconv: matches maps of stages; set model.stages, to blocks.4,blocks.6 for MobileNetV2 or "
            "layer3,layer4 for ResNet"
        )
    if architecture.stripes or architecture.embedding or architecture.head != "pooled":
        raise PasserbyError(
            "model.stripes, model.embedding, model.head: a model with a matcher has neither part heads nor another embedding "
            "than its matcher's; leave them out"
        )
    if streams and not banked:
        raise PasserbyError(
            f"model.norm={architecture.norm}: has no experts; set it to {' or '.join(BANKED)} for the streams of model.matcher, or "
            "model.matcher.specific and model.matcher.invariant to none"
        )
    if banked and architecture.bank.attention and architecture.matcher.invariant != "mix":
        raise PasserbyError(
            f"model.bank.attention={architecture.bank.attention}: mixes experts, which no stream does; set it to 0, or "
            "model.matcher.invariant to mix"
        )
    if not streams and banked:
        raise PasserbyError(
            f"model.norm={architecture.norm}: which experts are matched? set model.matcher.specific, model.matcher.invariant or both"
        )
