"""CycAs: who walks from one frame to the other and back arrives at himself. A comparator of ISR."""

from itertools import combinations
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from passerby.data.video.film_set import FilmBatch
from passerby.losses.cycle import cycle_association
from passerby.methods.base import MethodSettings
from passerby.methods.film import FilmMethod, FilmSettings


class CycasSettings(FilmSettings):
    """Parameters of CycAs; the default is the paper's."""

    name: Literal["cycas"] = "cycas"
    margin: float = Field(0.5, ge=0, le=1)
    """By which the probability of coming back exceeds that of arriving elsewhere."""


class Cycas(FilmMethod):
    """Wang et al., "CycAs: Self-supervised Cycle Association for Learning Re-identifiable Descriptions", ECCV 2020.

    Ours: super frames as ISR has them in the place of single frames, so that the two see the same batches; a walk may
    pass through any crop of the other frame, of all its videos (`candidates`), or of the own video alone.
    Walks know nothing of `apart`: somebody who stands in two shots of a film is two people to them.
    """

    Settings: ClassVar[type[MethodSettings]] = CycasSettings
    settings: CycasSettings
    loss_names: ClassVar[tuple[str, ...]] = ("cycle",)

    def losses(self, batch: FilmBatch) -> dict[str, Tensor]:
        """The mean over all pairs of frames."""
        embedding = self.embed(batch.images)
        self.mine(embedding.detach(), batch)
        groups = torch.zeros_like(batch.video) if self.settings.candidates == "all" else batch.video
        sides = combinations(sorted(set(batch.frame.tolist())), 2)
        walks = [
            cycle_association(
                embedding[(groups == group) & (batch.frame == first)],
                embedding[(groups == group) & (batch.frame == second)],
                self.settings.margin,
            )
            for first, second in sides
            for group in sorted(set(groups.tolist()))
        ]
        return {"cycle": torch.stack(walks).mean() if walks else embedding.sum() * 0}
