"""Optimizers and learning-rate schedules. A schedule is a function of the fraction of the run, never of a step."""

import math
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn


class OptimizerSettings(BaseModel):
    """Which optimizer moves the weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["adam", "adamw", "sgd"] = "adam"
    lr: float = Field(3.5e-4, gt=0)
    weight_decay: float = Field(5e-4, ge=0)
    """Of all weights but the attention's, see `build`; Adam adds it to the gradient, AdamW takes it off apart from that."""
    new_layers: float = Field(1.0, gt=0)
    """Rate of layers without pretrained weights (neck, classifier, heads), as a multiple of `lr`."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Of SGD (with Nesterov's correction off); Adam's betas are 0.9 and 0.999."""

    def build(
        self, pretrained: Iterable[nn.Parameter], new: Iterable[nn.Parameter], attention: Iterable[nn.Parameter] = ()
    ) -> torch.optim.Optimizer:
        """The optimizer over those parameters that require a gradient.

        Args:
            pretrained: parameters that move at `lr`.
            new: parameters that move at `lr` times `new_layers`.
            attention: the same, without weight decay. Their gradient is so small that in Adam, which scales it up, a decay of any
                size takes its place: they would go to 0, and all experts count alike.
        """
        groups: list[dict[str, Any]] = [
            {"params": [p for p in pretrained if p.requires_grad], "lr": self.lr},
            {"params": [p for p in new if p.requires_grad], "lr": self.lr * self.new_layers},
        ]
        if undecayed := [p for p in attention if p.requires_grad]:
            groups.append({"params": undecayed, "lr": self.lr * self.new_layers, "weight_decay": 0.0})
        # A twentieth of a step on the CPU; on a GPU Lightning cannot clip gradients for a fused optimizer in 16-mixed.
        fused = all(p.device.type == "cpu" for group in groups for p in group["params"])
        if self.name == "sgd":
            return torch.optim.SGD(groups, momentum=self.momentum, weight_decay=self.weight_decay, fused=fused)
        kind = torch.optim.Adam if self.name == "adam" else torch.optim.AdamW
        return kind(groups, weight_decay=self.weight_decay, fused=fused)


class ScheduleSettings(BaseModel):
    """How the learning rate moves over a run: a linear warm-up, then a decay."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    decay: Literal["constant", "cosine", "step"] = "cosine"
    warmup: float = Field(0.1, ge=0, lt=1)
    """Fraction of the run in which the rate grows linearly to its full value."""
    warmup_start: float = Field(0.01, gt=0, le=1)
    """Where the warm-up begins, as a fraction of the full rate."""
    milestones: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = ()
    """Fractions of the run at which a `step` decay multiplies the rate by `gamma`."""
    gamma: float = Field(0.1, gt=0, lt=1)

    def factor(self, progress: float) -> float:
        """The rate as a fraction of its full value, at `progress` in [0, 1] of the run."""
        if progress < self.warmup:
            return self.warmup_start + (1 - self.warmup_start) * progress / self.warmup
        if self.decay == "cosine":
            return 0.5 * (1 + math.cos(math.pi * (progress - self.warmup) / (1 - self.warmup)))
        if self.decay == "step":
            return self.gamma ** sum(progress >= milestone for milestone in self.milestones)
        return 1.0

    def over(self, steps: int) -> Callable[[int], float]:
        """The factor by step, for a run of `steps` steps."""
        return lambda step: self.factor(min(1.0, step / steps))
