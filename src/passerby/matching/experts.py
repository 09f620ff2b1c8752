"""What several experts say of a pair of images, made into one score."""

from typing import Literal

import torch
from torch import Tensor, nn

from passerby.errors import PasserbyError
from passerby.matching.map_matcher import MapMatcher, Scorer
from passerby.matching.maps import MapLayout
from passerby.matching.qaconv import MSQAConv

Experts = Literal["attention", "average", "vote"]
"""How experts are brought together: `attention` weights their responses for each pair (MSDA-QAConv), `average` weights them
alike, `vote` adds up their scores."""


class MSDAQAConv(MapMatcher):
    """Domain-adaptive multi-scale QAConv (Yan et al., "TAL", section 3.3): responses of K experts, weighted for each pair.

    The vectors of all experts and scales are concatenated; FC, ReLU, FC and softmax give K weights, alpha; the weighted sum of the
    experts' vectors goes through one MS-QAConv. Ours, since the paper stops there: one alpha for all scales, and a first FC that
    both sides of a pair share and whose two outcomes are summed, so that the score stays symmetric (as QAConv does it).
    `average` takes alpha = 1/K (the paper's Table 5).

    Attributes:
        head: the MS-QAConv of the weighted vectors.
        squeeze, excite: the two FCs, or None.
    """

    def __init__(
        self,
        layout: MapLayout,
        experts: Literal["attention", "average"] = "attention",
        reduction: int = 16,
        block_bytes: int | None = None,
    ) -> None:
        """Built for maps of K views.

        Args:
            layout: K is its number of views.
            experts: how they are weighted.
            reduction: r of the first FC.
            block_bytes: see `MapMatcher`.
        """
        super().__init__(layout, block_bytes)
        self.head = MSQAConv(MapLayout(layout.channels, layout.sizes))
        inputs = layout.views * sum(layout.places)
        hidden = max(1, inputs // reduction)
        self.squeeze = nn.Linear(inputs, hidden) if experts == "attention" else None
        self.excite = nn.Linear(hidden, layout.views) if experts == "attention" else None

    def scorer(self) -> Scorer:
        """Of responses [B, K, 2, S]."""
        of_vectors = self.head.vector_scorer()
        if self.squeeze is None:
            return lambda responses: of_vectors(responses.mean(1))
        if self.training:
            return lambda responses: of_vectors((self.attend(responses)[:, :, None, None] * responses).sum(1))
        # What is folded is linear: each expert's score, then their weighted sum.
        weight, shift = self.head.folded()
        return lambda responses: (self.attend(responses) * (responses @ weight).sum(2)).sum(1) + shift

    def attend(self, responses: Tensor) -> Tensor:
        """Alpha [B, K] of responses [B, K, 2, S]."""
        assert self.squeeze is not None
        assert self.excite is not None
        sides = self.squeeze(responses.transpose(1, 2).flatten(2))
        alpha: Tensor = self.excite(torch.relu(sides.sum(1))).softmax(1)
        return alpha

    @property
    def place_weights(self) -> Tensor:
        """[K, S], the head's for each expert."""
        return self.head.place_weights.expand(self.layout.views, -1)


class VotingQAConv(MapMatcher):
    """The sum of the experts' own scores, by one MS-QAConv for all of them (the voting of TAL's Table 5).

    Attributes:
        head: the MS-QAConv.
    """

    def __init__(self, layout: MapLayout, block_bytes: int | None = None) -> None:
        """Built for maps of K views."""
        super().__init__(layout, block_bytes)
        self.head = MSQAConv(MapLayout(layout.channels, layout.sizes))

    def scorer(self) -> Scorer:
        """Of responses [B, K, 2, S]."""
        of_vectors = self.head.vector_scorer()
        return lambda responses: of_vectors(responses.flatten(0, 1)).view(len(responses), -1).sum(1)

    @property
    def place_weights(self) -> Tensor:
        """[K, S], the head's for each expert."""
        return self.head.place_weights.expand(self.layout.views, -1)


class TwoStreamQAConv(MapMatcher):
    """TAL's score at test time: that of the experts' matcher plus that of the domain-invariant stream's.

    Attributes:
        specific: takes the first K views.
        invariant: takes the last one.
    """

    def __init__(
        self, specific: MSDAQAConv | VotingQAConv, invariant: MSQAConv, block_bytes: int | None = None
    ) -> None:
        """Built for maps of K + 1 views.

        Raises:
            PasserbyError: when the two were built for maps of other sizes or channels.
        """
        one, other = specific.layout, invariant.layout
        if (one.channels, one.sizes) != (other.channels, other.sizes):
            raise PasserbyError(f"matching: two streams of one model see maps of one size, not {one} and {other}")
        super().__init__(MapLayout(one.channels, one.sizes, one.views + 1), block_bytes)
        self.specific, self.invariant = specific, invariant

    def scorer(self) -> Scorer:
        """Of responses [B, K + 1, 2, S]."""
        specific, invariant = self.specific.scorer(), self.invariant.scorer()
        return lambda responses: specific(responses[:, :-1]) + invariant(responses[:, -1:])

    @property
    def place_weights(self) -> Tensor:
        """[K + 1, S]."""
        return torch.cat([self.specific.place_weights, self.invariant.place_weights])
