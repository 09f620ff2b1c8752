"""MoCo v2: two views of one crop are alike, all other crops are not. A comparator of ISR."""

from copy import deepcopy
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from passerby.data.video.film_set import FilmBatch
from passerby.losses.feature_queue import FeatureQueue
from passerby.methods.base import MethodSettings, TrainingFacts
from passerby.methods.film import FilmMethod, FilmSettings, origin_of, remember
from passerby.models.model import Model


class MocoSettings(FilmSettings):
    """Parameters of MoCo v2; the defaults are the paper's."""

    name: Literal["moco"] = "moco"
    contrast_temperature: float = Field(0.2, gt=0)
    """Of the loss; `temperature` is that of the reliability, which is logged alone."""
    momentum: float = Field(0.999, ge=0, lt=1)
    """By which the encoder of keys follows."""
    queue_length: int = Field(65536, gt=0)
    """Keys that the queue holds."""
    projection: int = Field(128, gt=0)
    """Width of what is contrasted: a head of two layers behind the embedding, which is left behind after training."""


class Moco(FilmMethod):
    """Chen et al., "Improved Baselines with Momentum Contrastive Learning", arXiv 2003.04297, on the crops of super frames.

    Ours: the encoder of keys normalises by the running statistics of the other one (as Cai et al., "EMAN", CVPR 2021) in the
    place of shuffling the batch over processes, since there may be one process alone. Optimizer and augmentation are the
    recipe's; MoCo's augmentation has a Gaussian blur too, which ours has not.
    """

    Settings: ClassVar[type[MethodSettings]] = MocoSettings
    settings: MocoSettings
    loss_names: ClassVar[tuple[str, ...]] = ("contrast",)

    def __init__(self, model: Model, facts: TrainingFacts, settings: MocoSettings) -> None:
        """Adds a head, the encoder of keys and a queue, empty at first."""
        super().__init__(model, facts, settings)
        width = model.dimension
        self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, settings.projection))
        self.key_model, self.key_head = deepcopy(model), deepcopy(self.head)
        self.key_model.requires_grad_(False)
        self.key_head.requires_grad_(False)
        self.queue = FeatureQueue(settings.queue_length, settings.projection)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Augments the crops twice, each time by draws of their own."""
        batch.second = replace(batch)
        return super().on_after_batch_transfer(batch, dataloader_idx)

    def losses(self, batch: FilmBatch) -> dict[str, Tensor]:
        """InfoNCE of each crop with its other view against the queue; then the queue takes in the keys."""
        assert batch.second is not None
        embedding = self.model(batch.images).embedding.float()
        self.mine(F.normalize(embedding.detach()), batch)
        query = F.normalize(self.head(embedding).float())
        keys = self.keys(batch.second.images)
        with torch.autocast(query.device.type, enabled=False):
            own = (query * keys).sum(1, keepdim=True)
            others = query @ self.queue.features.clone().T  # the queue takes in new keys before the backward
            others = others.masked_fill(self.queue.video < 0, -torch.inf)  # where nothing was written yet
            logits = torch.cat((own, others), 1) / self.settings.contrast_temperature
            loss = F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64, device=logits.device))
        remember(self.queue, keys, origin_of(batch))
        return {"contrast": loss}

    @torch.no_grad()
    def keys(self, images: Tensor) -> Tensor:
        """Keys [N, projection] of length 1, after the encoder of keys has followed the other one."""
        for mine, other in ((self.key_model, self.model), (self.key_head, self.head)):
            for own, leading in zip(mine.parameters(), other.parameters(), strict=True):
                own.lerp_(leading, 1 - self.settings.momentum)
            for statistic, current in zip(mine.buffers(), other.buffers(), strict=True):
                statistic.copy_(current)
        self.key_model.eval()
        return F.normalize(self.key_head(self.key_model(images).embedding.float()).float())
