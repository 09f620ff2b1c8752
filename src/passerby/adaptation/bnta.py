"""BNTA's test-time half: batch norms adapted by part positioning and part nearest neighbour matching."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Literal

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
    write_tensors,
)
from passerby.adaptation.pairing import Pairs, nearest_part_pairs
from passerby.data.images import Pixels
from passerby.errors import PasserbyError
from passerby.losses.parts import PartMatching, part_positioning
from passerby.models.heads import Parts
from passerby.models.model import Model


class BntaAdaptation(Adaptation):
    """Han et al., "Generalizable Person Re-ID via Self-Supervised Batch Norm Test-Time Adaption", AAAI 2022, section 3.6.

    The K pairs of images with the most similar part (Algorithm 1) serve as positives; the loss (eq. 13) is part positioning
    (eq. 5) plus part matching (eq. 8). Batch norms normalise by their batches, towards which their statistics move; their affine
    follows the gradient (eq. 14), in backbone and heads.

    Left open by the paper, and ours: the optimizer (Adam), how far the statistics move (`weight`), whether the positioning loss looks at
    all stripes or at the paired one, whether eq. 8 is summed or averaged over the batch, whether local features are brought to length 1.
    """

    name: Literal["bnta"] = "bnta"
    pairs: int = Field(128, gt=1)
    """K; at most half of the images."""
    batch_pairs: int = Field(32, gt=1)
    """Pairs in a batch, about: batches are alike in size, so 47 pairs make one."""
    epochs: int = Field(1, gt=0)
    """How often each pair is seen."""
    lr: float = Field(5e-4, ge=0)
    """Step size of the affine (eq. 14); 0 moves statistics alone."""
    optimizer: Literal["adam", "sgd"] = "adam"
    margin: float = Field(0.3, ge=0)
    """phi of eq. 8."""
    matching_weight: float = Field(1.0, ge=0)
    """lambda 3 of eq. 13."""
    position_weight: float = Field(1.0, ge=0)
    """1 in eq. 13; 0 leaves the positioning loss out (Table 3)."""
    features: Literal["raw", "unit"] = "raw"
    """Whether parts are paired (Algorithm 1) and matched (eq. 8) as they are, or brought to length 1."""
    positions: Literal["all", "paired"] = "all"
    """Which stripes of an image the positioning loss looks at: every one, or the one by which it was paired."""
    reduction: Literal["mean", "sum"] = "mean"
    """Of eq. 8 over the pairs of a batch."""
    weight: float = Field(0.3, gt=0, le=1)
    """Of the new statistics against the source's, as in AdaBN."""
    moves: tuple[Moving, ...] = Field(("mean", "variance", "weight", "bias"), min_length=1)
    """What adapts (Tables 4 and 5). Where no statistics are among them, batch norms normalise by the running ones."""

    def settings(self, images: int) -> dict[str, Any]:
        """`pairs` is K, half of the images at most."""
        return {**super().settings(images), "pairs": min(self.pairs, images // 2)}

    def moving(self) -> tuple[Moving, ...]:
        """What `moves` says."""
        return self.moves

    def check(self, model: Model) -> None:
        """Needs batch norms and part heads.

        Raises:
            PasserbyError: when the model has none.
        """
        super().check(model)
        if model.parts is None:
            raise PasserbyError(
                "bnta: the model has no part heads (train one with a bnta recipe); adabn adapts any model with batch norms"
            )

    def change(self, model: Model, images: Pixels, seed: int) -> None:
        """Takes the steps of one adaptation."""

        def parts_of(rows: Tensor) -> Parts:
            return self._parts(model, images[rows.numpy()])

        pairs = self._pairs(self._every_part(model, images))
        moved, state = moving_tensors(model, self.moves), model.state_dict()
        statistics = {"mean", "variance"} & set(self.moves)
        resting = {
            name: state[name].clone() for name in moving_tensors(model, ("mean", "variance")) if name not in moved
        }
        generator = torch.Generator().manual_seed(seed)
        with gradients_for(model, moved) as parameters:
            kind = torch.optim.Adam if self.optimizer == "adam" else torch.optim.SGD
            optimizer = kind(parameters, lr=self.lr) if parameters else None
            with new_statistics(model, self.weight) if statistics else nullcontext():
                for _ in range(self.epochs):
                    order = torch.randperm(len(pairs.part), generator=generator)
                    for batch in even_batches(len(order), self.batch_pairs):
                        losses = self._losses(pairs, order[batch], parts_of)
                        if optimizer is not None:
                            optimizer.zero_grad()
                            torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
                            optimizer.step()
        write_tensors(model, resting)  # normalising by batches moved both statistics

    def look(self, model: Model, images: Pixels) -> dict[str, float]:
        """The losses of the pairs that the model finds, weighted as they are in adapting: means over their batches."""
        known = self._every_part(model, images)
        pairs = self._pairs(known)
        every = torch.arange(len(pairs.part))
        losses = [
            self._losses(pairs, every[batch], lambda rows: Parts(known.embedding[rows], known.position[rows]))
            for batch in even_batches(len(every), self.batch_pairs)
        ]
        return {name: float(torch.stack([values[name] for values in losses]).mean()) for name in losses[0]}

    def _pairs(self, known: Parts) -> Pairs:
        return nearest_part_pairs(known.embedding, min(self.pairs, len(known.embedding) // 2))

    def _losses(self, pairs: Pairs, chosen: Tensor, parts_of: Callable[[Tensor], Parts]) -> dict[str, Tensor]:
        """Both terms of eq. 13 of some pairs; `parts_of` gives the parts of images by their rows."""
        parts = parts_of(torch.cat([pairs.first[chosen], pairs.second[chosen]]))
        position, part = parts.position, pairs.part[chosen].to(parts.position.device)
        if self.positions == "paired":
            rows = torch.arange(len(position), device=position.device)
            logits = position[rows, part.repeat(2)]
            positioning = F.cross_entropy(logits.float(), part.repeat(2))
        else:
            positioning = part_positioning(position)
        matching = PartMatching(self.margin, self.reduction)
        ahead, behind = parts.embedding.chunk(2)
        return {
            "position": self.position_weight * positioning,
            "matching": self.matching_weight * matching(ahead, behind, part),
        }

    def _parts(self, model: Model, images: Pixels) -> Parts:
        parts: Parts | None = model(network_input(model, images), parts=True).parts
        assert parts is not None
        if self.features == "raw":
            return parts
        return Parts(F.normalize(parts.embedding, dim=2), parts.position)

    @torch.no_grad()
    def _every_part(self, model: Model, images: Pixels) -> Parts:
        """Parts of all images, on the CPU."""
        found = [self._parts(model, images[batch]) for batch in even_batches(len(images))]
        return Parts(torch.cat([f.embedding.cpu() for f in found]), torch.cat([f.position.cpu() for f in found]))
