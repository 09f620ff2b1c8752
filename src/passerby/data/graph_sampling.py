"""The graph sampler: a batch is a person and who looks most like them to the model as it is now."""

from collections.abc import Callable

import numpy as np

from passerby.data.sampling import IdentityBalancedSampler, Indices
from passerby.errors import PasserbyError

Nearest = Callable[[Indices, Indices, int], Indices]
"""(one image of each identity [M], some of these identities [A], n) -> the n most alike of the M to each, int64 [A, n]."""


class GraphSampler(IdentityBalancedSampler):
    """Batches of an identity and its nearest (Liao & Shao, "Graph Sampling", CVPR 2022; TAL trains with it).

    Each epoch: one random image of each identity, the distances between all of them by the model as it is then, and as many
    batches as the epoch has, each an identity, the next of a random permutation, and its P - 1 nearest, Q images each.

    What an epoch holds depends on the model at its start, so it is part of a checkpoint: a run taken up in mid-epoch goes on with
    the same batches.

    Attributes:
        nearest: asks the model; set by who trains it, the same on every process.
    """

    nearest: Nearest | None = None

    def __init__(self, identities: Indices, p: int, q: int, seed: int, batches: int | None = None) -> None:
        """Orders batches of P identities and Q images each.

        Args:
            identities: [N] class of each image, counted from 0 without gaps.
            p: identities a batch.
            q: images an identity.
            seed: fixes images and the order of identities.
            batches: of an epoch, from graph to graph; None: as many as there are identities (the paper).

        Raises:
            PasserbyError: when there are fewer than `p` identities.
        """
        super().__init__(identities, p, q, seed)
        self.batches = batches or len(self.counts)

    def epoch(self, epoch: int) -> Indices:
        """The indices of one epoch; asks `nearest` where it is not the one that it asked about last."""
        rng = self.generator(epoch)
        shown = self._images(np.arange(len(self.counts)), rng)[:, 0]
        rounds = -(-self.batches // len(self.counts))
        anchors = np.concatenate([rng.permutation(len(self.counts)) for _ in range(rounds)])[: self.batches]
        if self.kept.get("epoch") != epoch:
            if self.nearest is None:
                raise PasserbyError(
                    "data.batches=graph: this method has no matcher to ask; choose qaconv or tal, or batches=identity"
                )
            people = np.column_stack([anchors, self.nearest(shown, anchors, self.p - 1)])
            self.kept = {"epoch": epoch, "people": people}
        return self._images(self.kept["people"].reshape(-1), rng).reshape(self.batches, self.batch_size)
