"""What every matcher is: it scores two sets of features, higher is more alike, in blocks of bounded memory."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor


class Matcher(ABC):
    """Scores queries against a gallery; both are rows of features of one width."""

    @abstractmethod
    def blocks(self, query: Tensor, gallery: Tensor) -> Iterator[Tensor]:
        """Yields the scores of the queries in their order, [n, G] a block.

        A block may share its memory with the one before: copy what is to be kept.

        Args:
            query: [Q, F].
            gallery: [G, F].

        Raises:
            PasserbyError: when the two do not go together.
        """

    def score(self, query: Tensor, gallery: Tensor) -> Tensor:
        """All scores, [Q, G], higher is more alike; see `blocks`."""
        return torch.cat([block.clone() for block in self.blocks(query, gallery)])
