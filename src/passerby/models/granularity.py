"""MGN's three branches: a person whole, in two stripes and in three."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from passerby.errors import PasserbyError
from passerby.models.backbone import Backbone, remove_last_stride

STRIPES = (1, 2, 3)
"""Stripes of the branches; the first sees the person whole and nothing else."""


@dataclass(frozen=True)
class Granularities:
    """What the branches say of N images.

    Attributes:
        whole: [N, 3, C], each branch's maximum over its whole map.
        reduced: [N, 8, c], these three, and the stripes of the second and the third branch, top to bottom, each reduced.
        last: [N, C, h, w], the map of the first branch.
    """

    whole: Tensor
    reduced: Tensor
    last: Tensor


class MultiGranularity(nn.Module):
    """Wang et al., "Learning Discriminative Features with Multiple Granularities for Person Re-ID", ACM MM 2018, section 3.

    A ResNet up to the first block of its third stage is shared. Behind it the rest stands three times: as it is, and twice
    without the last down-sampling. Each map is max pooled, whole and in stripes, and each feature reduced by a 1x1 convolution
    with batch norm and ReLU. The copies start from the network's weights.

    The stripes have the bounds of adaptive pooling, which overlap where they do not fit the map's height (the paper's fit).

    Attributes:
        reduced: c.
        dimension: of all reduced features together.
    """

    def __init__(self, backbone: Backbone, last_stride_1: bool, reduced: int = 256) -> None:
        """Branches behind a backbone.

        Args:
            backbone: a ResNet, with its weights and norms; its own last blocks are the first branch.
            last_stride_1: whether its last down-sampling has been taken out already.
            reduced: c.

        Raises:
            PasserbyError: when it is no ResNet.
        """
        super().__init__()
        self.reduced = reduced
        network: Any = backbone.network
        if not all(
            hasattr(network, part) for part in ("conv1", "bn1", "act1", "maxpool", "layer1", "layer3", "layer4")
        ):
            raise PasserbyError(
                f"model.head=mgn: {backbone.name} is no ResNet, whose last stages MGN takes three times"
            )
        self.branches = nn.ModuleList()
        for _ in STRIPES[1:]:
            copy = deepcopy(network)
            if not last_stride_1:
                remove_last_stride(copy, backbone.image_size)
            self.branches.append(_rest(copy))
        features = len(STRIPES) + sum(STRIPES[1:])
        self.reduce = nn.ModuleList(
            nn.Sequential(nn.Conv2d(backbone.channels, reduced, 1, bias=False), nn.BatchNorm2d(reduced), nn.ReLU())
            for _ in range(features)
        )
        for convolution in (module for module in self.reduce.modules() if isinstance(module, nn.Conv2d)):
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out")
        self.dimension = features * reduced

    def take_branches(self, network: Any) -> None:
        """Copies the backbone's network into the branches once more, when it has other weights."""
        for branch in self.branches:
            branch.load_state_dict(_rest(network).state_dict())

    def forward(self, network: Any, images: Tensor) -> Granularities:
        """All features of images [N, 3, H, W], by the backbone's network and the branches."""
        trunk = network.maxpool(network.act1(network.bn1(network.conv1(images))))
        trunk = network.layer3[0](network.layer2(network.layer1(trunk)))
        last = network.layer4(network.layer3[1:](trunk))
        maps = [last, *(branch(trunk) for branch in self.branches)]
        whole = torch.stack([each.amax((2, 3)) for each in maps], 1)
        parts = [part for each, stripes in zip(maps[1:], STRIPES[1:], strict=True) for part in _stripes(each, stripes)]
        features = [*whole.unbind(1), *parts]
        # float32 under autocast, as every norm and feature that is compared.
        with torch.autocast(images.device.type, enabled=False):
            reduced = [
                layer(feature.float()[:, :, None, None]).flatten(1)
                for layer, feature in zip(self.reduce, features, strict=True)
            ]
        return Granularities(whole, torch.stack(reduced, 1), last)


def _rest(network: Any) -> nn.Sequential:
    """What stands behind the blocks that the branches share."""
    return nn.Sequential(*network.layer3[1:], *network.layer4)


def _stripes(maps: Tensor, stripes: int) -> list[Tensor]:
    """Maximum over each horizontal stripe of maps [N, C, h, w], top to bottom: [N, C] each."""
    height = maps.shape[2]
    bounds = [(k * height // stripes, -(-(k + 1) * height // stripes)) for k in range(stripes)]
    return [maps[:, :, start:end].amax((2, 3)) for start, end in bounds]
