"""MLDG: meta-learning of every parameter; MetaBIN's comparator."""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from passerby.data.training_set import Batch
from passerby.methods.base import MethodSettings
from passerby.methods.episodes import EpisodeSettings, EpisodicMethod, MetaLoss
from passerby.models.freeze import frozen


class MldgSettings(EpisodeSettings):
    """Parameters of MLDG, as MetaBIN's Table 3 uses it."""

    name: Literal["mldg"] = "mldg"
    meta_train: tuple[MetaLoss, ...] = Field(("cross_entropy", "triplet"), min_length=1)
    """Losses of the inner step; with `scatter` and `shuffle` beside them, on batch-instance norms, it is MetaBIN without episode
    separation."""
    meta_test: tuple[MetaLoss, ...] = Field(("cross_entropy", "triplet"), min_length=1)
    """Losses at the parameters that the inner step led to."""
    inner_lr: tuple[float, float] = (1e-3, 1e-3)
    """Size of the inner step: it swings between these two in triangles; equal, it is fixed."""
    meta_test_weight: float = Field(1.0, ge=0)
    """Weight of the meta-test loss (beta in Li et al.)."""


class Mldg(EpisodicMethod):
    """Li et al., "Learning to Generalize: Meta-Learning for Domain Generalization", AAAI 2018, first order.

    F(theta) + beta G(theta - alpha grad F(theta)): F on the meta-train domains of a batch, G on the others; every
    parameter of the model takes the inner step and is moved by both. The classifier, which knows other identities in
    each domain, takes no inner step. Running statistics follow the meta-train part alone.
    """

    Settings: ClassVar[type[MethodSettings]] = MldgSettings
    settings: MldgSettings

    loss_names = ("meta_train", "meta_test")

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """F and the weighted G of a batch that holds several domains."""
        for_train = self.split(batch)
        parameters = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        train = self.meta_loss({}, batch, for_train, self.settings.meta_train)
        gradients = torch.autograd.grad(train, list(parameters.values()), retain_graph=True, allow_unused=True)
        lr = self.inner_lr(batch.step)
        # The inner gradient is a constant: gradients of the meta-test loss go to the parameters as they are.
        moved = {
            name: p if g is None else p - lr * g for (name, p), g in zip(parameters.items(), gradients, strict=True)
        }
        with frozen(self.model, hold_statistics=True):
            test = self.meta_loss(moved, batch, ~for_train, self.settings.meta_test)
        return {"meta_train": train, "meta_test": self.settings.meta_test_weight * test}
