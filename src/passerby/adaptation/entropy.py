"""TENT's entropy rule carried over from classes to the images of a gallery."""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from passerby.adaptation.base import (
    Adaptation,
    Moving,
    even_batches,
    gradients_for,
    moving_tensors,
    network_input,
    new_statistics,
)
from passerby.data.images import Pixels
from passerby.errors import PasserbyError
from passerby.models.model import Model


class Entropy(Adaptation):
    """Wang et al., "Tent: Fully Test-Time Adaptation by Entropy Minimization", ICLR 2021, on similarities.

    In retrieval there are no classes. Each image of a batch is compared with the most similar other images of the place,
    embedded once by the model as it was; the entropy of the softmax over these similarities is minimised. As in tent
    batch norms normalise by their batches, and their affine takes the gradient. What the statistics are afterwards is ours: the
    source's mixed with the mean over the batches.
    """

    name: Literal["entropy"] = "entropy"
    neighbours: int = Field(50, gt=1)
    """The most similar images that stand for classes."""
    temperature: float = Field(0.1, gt=0)
    """Cosines are divided by it before the softmax."""
    lr: float = Field(1e-4, gt=0)
    """Step size of the affine, Adam's."""
    epochs: int = Field(1, gt=0)
    """How often each image is seen, 64 a batch."""
    weight: float = Field(0.3, gt=0, le=1)
    """Of the new statistics against the source's, as in AdaBN."""

    def moving(self) -> tuple[Moving, ...]:
        """Everything of the batch norms."""
        return ("mean", "variance", "weight", "bias")

    def change(self, model: Model, images: Pixels, seed: int) -> None:
        """Minimises the entropy."""
        bank = self._embed(model, images)
        generator = torch.Generator().manual_seed(seed)
        with gradients_for(model, moving_tensors(model, self.moving())) as parameters:
            if not parameters:
                raise PasserbyError("entropy: every parameter of the batch norms is frozen; let them take gradients")
            optimizer = torch.optim.Adam(parameters, lr=self.lr)
            with new_statistics(model, self.weight):
                for _ in range(self.epochs):
                    order = torch.randperm(len(images), generator=generator)
                    for batch in even_batches(len(images)):
                        rows = order[batch]
                        embedding = F.normalize(model(network_input(model, images[rows.numpy()])).embedding)
                        optimizer.zero_grad()
                        self._entropy(embedding, rows, bank).mean().backward()  # type: ignore[no-untyped-call]
                        optimizer.step()

    def look(self, model: Model, images: Pixels) -> dict[str, float]:
        """The mean entropy of the images among each other."""
        bank = self._embed(model, images)
        rows = torch.arange(len(bank))
        entropies = [self._entropy(bank[b], rows[b], bank) for b in even_batches(len(bank))]
        return {"entropy": float(torch.cat(entropies).mean())}

    @torch.no_grad()
    def _embed(self, model: Model, images: Pixels) -> Tensor:
        batches = [model(network_input(model, images[b])).embedding for b in even_batches(len(images))]
        return F.normalize(torch.cat(batches))

    def _entropy(self, embedding: Tensor, rows: Tensor, bank: Tensor) -> Tensor:
        """Entropy [n] of the softmax over the similarities [n, neighbours] to the nearest others in the bank."""
        similarity = (embedding @ bank.T).scatter(1, rows[:, None].to(bank.device), -torch.inf)
        nearest = similarity.topk(min(self.neighbours, len(bank) - 1), 1).values
        log_probability = F.log_softmax(nearest / self.temperature, 1)
        return -(log_probability.exp() * log_probability).sum(1)
