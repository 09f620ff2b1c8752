"""What every method is: a LightningModule that turns batches into a trained model."""

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from passerby.data.augment import Augmentation, augment
from passerby.data.sampling import BatchSampler
from passerby.data.training_set import TrainingSet
from passerby.errors import PasserbyError
from passerby.matching.experts import MSDAQAConv
from passerby.methods.optimization import OptimizerSettings, ScheduleSettings
from passerby.models.matching_model import MatchingModel
from passerby.models.model import Model
from passerby.models.norm import DomainNorm2d, clamp_gates
from passerby.seeding import derived_seed, torch_generator


class MethodSettings(BaseModel):
    """Base of a method's own settings; a method adds its parameters, with the paper's values as defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str


@dataclass(frozen=True)
class TrainingFacts:
    """What a method has to know about the run.

    Attributes:
        classes: identities over all domains; 0 on film, which says of nobody who it is.
        domains: K; shots on film.
        steps: base steps of the whole run.
        seed: fixes every draw.
        optimizer, schedule, augmentation: from the recipe.
        domain_names: in their order, for messages.
        span: on film, seconds between the farthest moments of two shots of one film; infinite where there are several films.
    """

    classes: int
    domains: int
    steps: int
    seed: int
    optimizer: OptimizerSettings
    schedule: ScheduleSettings
    augmentation: Augmentation
    domain_names: tuple[str, ...] = ()
    span: float = math.inf


class Method(L.LightningModule):
    """A way to train a model. A subclass implements `losses` and what else its paper asks for.

    Attributes:
        model: what is trained and, at the end, saved.
        facts: the run.
    """

    Settings: ClassVar[type[MethodSettings]]
    loss_names: ClassVar[tuple[str, ...]]
    """Names of the losses that it logs; their weighted sum is logged as `loss`."""
    learns_from: ClassVar[Literal["labels", "film"]] = "labels"
    """What it trains on: labelled sources (its batches are `Batch`es), or shards of crops from film (`FilmBatch`es)."""
    trains_parts: ClassVar[bool] = False
    """Whether it trains part heads; other methods refuse a model that has them."""
    trains_matcher: ClassVar[bool] = False
    """Whether it trains a matcher of maps; other methods refuse a model that has one."""
    not_compiled: str | None = None
    """Why its backbone cannot be compiled, and how to do without that; None: it can."""

    def __init__(self, model: Model, facts: TrainingFacts, settings: MethodSettings) -> None:
        """Holds the model, the facts of the run and the method's own settings, an instance of `Settings`."""
        super().__init__()
        if model.parts is not None and not self.trains_parts:
            raise PasserbyError(f"method.name={settings.name}: does not train part heads; set model.stripes to 0")
        if isinstance(model, MatchingModel) and not self.trains_matcher:
            raise PasserbyError(
                f"method.name={settings.name}: does not train a matcher; set model.matcher.kind to cosine, or method.name to qaconv or tal"
            )
        self.model, self.facts, self.settings = model, facts, settings

    @abstractmethod
    def losses(self, batch: Any) -> dict[str, Tensor]:
        """The weighted terms of the loss by name, scalars, of an augmented batch."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """One base step."""
        return self.total(self.losses(batch), len(batch.images))

    def total(self, losses: dict[str, Tensor], images: int) -> Tensor:
        """Sums and logs the terms of a loss.

        Raises:
            PasserbyError: when a term is not finite; the step and the loss are named.
        """
        for name, value in losses.items():
            if not bool(torch.isfinite(value)):
                raise PasserbyError(
                    f"training: loss '{name}' is {value.item()} at step {self.global_step}; the last checkpoint, if there is "
                    "one, is kept. Lower optimizer.lr, or train in 32-true"
                )
        loss = torch.stack(list(losses.values())).sum()
        self.log_dict({**losses, "loss": loss}, batch_size=images, prog_bar=True)
        return loss

    def second_sampler(self, training_set: TrainingSet) -> BatchSampler | None:
        """Orders a second batch, drawn apart, that comes with each batch as `batch.second`; None: there is none."""
        return None

    def prepare_sampler(self, sampler: BatchSampler, training_set: TrainingSet) -> None:
        """Gives a sampler that asks the method what it needs; the others need nothing."""

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Augments on the training device."""
        generator = torch_generator(self.facts.seed, batch.step, self.global_rank, 0)
        for part in (batch,) if batch.second is None else (batch, batch.second):
            part.images = augment(part.images, self.facts.augmentation, self.model.preprocessing, generator)
        return batch

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seeds whatever the network itself draws (dropout, say), so that a resumed run draws the same."""
        torch.manual_seed(derived_seed(self.facts.seed, batch.step, self.global_rank, 1))

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """A step of the optimizer; where it moves gates of batch-instance norms, they stay in [0, 1]."""
        super().optimizer_step(*args, **kwargs)
        clamp_gates(self.model)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """One optimizer over everything that trains, its rate a function of the run's fraction."""
        # The attention of domain norms stands in the backbone, but starts from nothing.
        adaptive = [m for m in self.modules() if isinstance(m, DomainNorm2d | MSDAQAConv)]
        attention = dict.fromkeys(p for m in adaptive for p in m.attention_parameters)
        pretrained = dict.fromkeys(p for p in self.model.pretrained_parameters() if p not in attention)
        new = [p for p in self.parameters() if p not in pretrained and p not in attention]
        optimizer = self.facts.optimizer.build(pretrained, new, attention)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self.facts.schedule.over(self.facts.steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
