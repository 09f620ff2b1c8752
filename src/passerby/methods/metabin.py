"""MetaBIN: the gates of batch-instance norms learnt in meta-learning episodes of their own."""

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from passerby.data.sampling import BatchSampler, DomainBalancedSampler
from passerby.data.training_set import Batch, TrainingSet
from passerby.errors import PasserbyError
from passerby.methods.base import MethodSettings, TrainingFacts
from passerby.methods.episodes import EpisodeSettings, EpisodicMethod, MetaLoss
from passerby.models.freeze import frozen
from passerby.models.model import Model
from passerby.models.norm import BatchInstanceNorm2d
from passerby.models.norm.processes import process_count, sum_over_processes
from passerby.seeding import derived_seed

_META_SAMPLER = 0x3E7A
_LOOKS = 50
"""How often a run looks at what each meta-train loss does to the gates."""


class MetaBinSettings(EpisodeSettings):
    """Parameters of MetaBIN; the defaults are the paper's (section 4.1) where it says."""

    name: Literal["metabin"] = "metabin"
    meta_identities: int = Field(4, gt=0)
    """Identities of each domain in a meta batch."""
    meta_images_each: int = Field(4, gt=0)
    meta_train: tuple[MetaLoss, ...] = Field(("scatter", "shuffle", "triplet"), min_length=1)
    """Losses of the inner step (eq. 8)."""
    meta_test: tuple[MetaLoss, ...] = Field(("triplet",), min_length=1)
    """Losses at the gates that the inner step led to (eq. 10)."""
    inner_lr: tuple[float, float] = (1e-3, 0.1)
    """beta of eq. 9: it swings between these two in triangles; equal, it is fixed."""
    gate_lr: float = Field(0.1, gt=0)
    """gamma of eq. 10: the meta step's size, constant over the run."""
    second_order: bool = False
    """Differentiate through the inner step; the paper takes the first-order approximation."""


class MetaBin(EpisodicMethod):
    """Choi et al., "Meta Batch-Instance Normalization for Generalizable Person Re-Identification", CVPR 2021.

    Algorithm 1. The base step trains everything but the gates with cross-entropy and triplet (eq. 4, 5). Then, on a meta
    batch drawn apart and split by domain, the gates alone take an inner step down the meta-train loss (eq. 6 to 9) and
    are moved by the gradient of the meta-test loss at the place that it led to (eq. 10). Gates stay in [0, 1]; in the
    inner step the clamped value counts while the gradient passes as if it were not clamped. Meta forwards normalise by
    their own batches and leave the running statistics alone.

    One base step and one meta step are one global step. Over several processes each has its share of both batches, and the
    gates' gradients are averaged.
    """

    Settings: ClassVar[type[MethodSettings]] = MetaBinSettings
    settings: MetaBinSettings

    def __init__(self, model: Model, facts: TrainingFacts, settings: MetaBinSettings) -> None:
        """Takes the gates out of the base step.

        Raises:
            PasserbyError: when the model has no gates, or the domains cannot be split.
        """
        super().__init__(model, facts, settings)
        if settings.second_order:
            self.not_compiled = "torch.compile gives no second derivatives; leave it or method.second_order out"
        layers = {name: m for name, m in model.named_modules() if isinstance(m, BatchInstanceNorm2d)}
        if not layers:
            raise PasserbyError("method.name=metabin: the model has no gates; set model.norm to bin")
        self.gates: dict[str, nn.Parameter] = {f"{name}.gate": layer.gate for name, layer in layers.items()}
        for gate in self.gates.values():
            gate.requires_grad_(False)

    def second_sampler(self, training_set: TrainingSet) -> BatchSampler:
        """Meta batches: of every domain the same number of identities.

        Raises:
            PasserbyError: when a domain has fewer.
        """
        for k, name in enumerate(training_set.domains):
            there = len(set(training_set.identity[training_set.domain == k].tolist()))
            if there < self.settings.meta_identities:
                raise PasserbyError(
                    f"method.meta_identities: a meta batch takes {self.settings.meta_identities} people of each domain, "
                    f"'{name}' has {there}; lower it, or leave that domain out"
                )
        people = self.settings.meta_identities * self.facts.domains
        seed = derived_seed(self.facts.seed, _META_SAMPLER)
        return DomainBalancedSampler(
            training_set.identity, training_set.domain, people, self.settings.meta_images_each, seed
        )

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Keeps the meta batch for the meta step."""
        super().on_train_batch_start(batch, batch_idx)
        self._meta_batch = batch.second

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """The base step, then the meta step: a checkpoint, which is written after both, holds both."""
        super().optimizer_step(*args, **kwargs)
        assert self._meta_batch is not None
        step = self._meta_batch.step
        self._logged = {"inner_lr": torch.tensor(self.inner_lr(step))}
        with self.trainer.precision_plugin.train_step_context():
            if step % max(1, self.facts.steps // _LOOKS) == 0:
                pushes = self.gate_pushes(self._meta_batch)
                self._logged |= {f"gate_push/{name}": push for name, push in pushes.items()}
            losses = self.meta_step(self._meta_batch)
        self._logged |= {f"meta_{name}": value for name, value in losses.items()}

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Logs what the meta step did."""
        self.log_dict(self._logged)
        self.log_dict({f"rho/{name.removesuffix('.gate')}": gate.mean() for name, gate in self.gates.items()})

    def gate_pushes(self, batch: Batch) -> dict[str, Tensor]:
        """Share of the gates that each meta-train loss, alone, pushes towards instance norm (the paper's Fig. 5).

        Gates that it does not push at all are left out.

        Args:
            batch: augmented, balanced over domains.
        """
        for_train = self.split(batch)
        shares: dict[str, Tensor] = {}
        with frozen(self.model, "nothing", hold_statistics=True):
            for name in self.settings.meta_train:
                gates: dict[str, Tensor] = {key: gate.detach().requires_grad_() for key, gate in self.gates.items()}
                push = torch.cat(
                    _gradients(self.meta_loss(gates, batch, for_train, (name,)), gates, create_graph=False)
                )
                shares[name] = (push > 0).sum() / (push != 0).sum().clamp(min=1)
        return shares

    def meta_step(self, batch: Batch) -> dict[str, Tensor]:
        """Moves the gates by one meta-learning episode, and nothing else.

        Args:
            batch: augmented, balanced over domains.

        Returns:
            the losses `train` and `test`, scalars.
        """
        for_train = self.split(batch)
        with frozen(self.model, "nothing", hold_statistics=True):
            gates: dict[str, Tensor] = {name: gate.detach().requires_grad_() for name, gate in self.gates.items()}
            train = self.meta_loss(gates, batch, for_train, self.settings.meta_train)
            gradients = _gradients(train, gates, self.settings.second_order)
            moved = inner_step(gates, gradients, self.inner_lr(batch.step))
            if not self.settings.second_order:
                moved = {name: gate.detach().requires_grad_() for name, gate in moved.items()}
            test = self.meta_loss(moved, batch, ~for_train, self.settings.meta_test)
            gradients = _gradients(test, gates if self.settings.second_order else moved, create_graph=False)
        with torch.no_grad():
            # Plain gradient descent has no state: there is no optimizer to keep.
            for gate, gradient in zip(self.gates.values(), gradients, strict=True):
                gate.sub_(self.settings.gate_lr * gradient).clamp_(0, 1)
        return {"train": train.detach(), "test": test.detach()}


def inner_step(gates: dict[str, Tensor], gradients: tuple[Tensor, ...], lr: float) -> dict[str, Tensor]:
    """Eq. 9, clamped to [0, 1]; the gradient passes the clamp as if it were not there."""
    moved = {name: gate - lr * g for (name, gate), g in zip(gates.items(), gradients, strict=True)}
    return {name: gate + (gate.clamp(0, 1) - gate).detach() for name, gate in moved.items()}


def _gradients(loss: Tensor, gates: dict[str, Tensor], create_graph: bool) -> tuple[Tensor, ...]:
    """With respect to the gates alone; the same on every process."""
    gradients = torch.autograd.grad(loss, list(gates.values()), create_graph=create_graph)
    mean = sum_over_processes(torch.cat(gradients)) / process_count()
    return torch.split(mean, [len(gradient) for gradient in gradients])
