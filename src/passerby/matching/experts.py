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


class ExpertsQAConv(MapMatcher):
    """Base of what brings the K experts of a pair together by one MS-QAConv for all of them.

    Attributes:
        head: the MS-QAConv.
    """

    def __init__(self, layout: MapLayout, block_bytes: int | None = None) -> None:
        """Built for maps of K views."""
        super().__init__(layout, block_bytes)
        self.head = MSQAConv(MapLayout(layout.channels, layout.sizes))

    @property
    def place_weights(self) -> Tensor:
        """[K, S], the head's for each expert: every expert adds a score of its own."""
        return self.head.place_weights.expand(self.layout.views, -1)


class MSDAQAConv(ExpertsQAConv):
    """Domain-adaptive multi-scale QAConv (Yan et al., "TAL", section 3.3): responses of K experts, weighted for each pair.

    The vectors of all experts and scales are concatenated; FC, ReLU, FC and softmax give K weights, alpha; the weighted sum of the
    experts' vectors goes through one MS-QAConv. Ours, since the paper stops there: one alpha for all scales, and a first FC that
    both sides of a pair share and whose two outcomes are summed, so that the score stays symmetric (as QAConv does it).
    `average` takes alpha = 1/K (the paper's Table 5).

    Attributes:
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
        inputs = layout.views * sum(layout.places)
        hidden = max(1, inputs // reduction)
        self.squeeze = nn.Linear(inputs, hidden) if experts == "attention" else None
        self.excite = nn.Linear(hidden, layout.views) if experts == "attention" else None

    @property
    def place_weights(self) -> Tensor:
        """[K, S], the head's share of each expert, where all are weighted alike."""
        return super().place_weights / self.layout.views

    @property
    def attention_parameters(self) -> list[nn.Parameter]:
        """Those of the two FCs, if there are any."""
        return [p for layer in (self.squeeze, self.excite) if layer is not None for p in layer.parameters()]

    def scorer(self, without: Tensor | None = None) -> Scorer:
        """Of responses [B, K, 2, S].

        Args:
            without: bool [B, K], experts that take no part in a pair's score; at least one does. None: all do.
        """
        of_vectors = self.head.vector_scorer()
        if self.squeeze is None and without is None:
            return lambda responses: of_vectors(responses.mean(1))
        if self.training:
            return lambda responses: of_vectors((self.attend(responses, without)[:, :, None, None] * responses).sum(1))
        # What is folded is linear: each expert's score, then their weighted sum.
        weight, shift = self.head.folded()
        return lambda responses: (self.attend(responses, without) * (responses @ weight).sum(2)).sum(1) + shift

    def attend(self, responses: Tensor, without: Tensor | None = None) -> Tensor:
        """Alpha [B, K] of responses [B, K, 2, S]; `without` as in `scorer`."""
        logits = responses.new_zeros(responses.shape[:2])
        if self.squeeze is not None and self.excite is not None:
            logits = self.excite(torch.relu(self.squeeze(responses.transpose(1, 2).flatten(2)).sum(1)))
        return (logits if without is None else logits.masked_fill(without, -torch.inf)).softmax(1)


class VotingQAConv(ExpertsQAConv):
    """The sum of the experts' own scores (the voting of TAL's Table 5)."""

    def scorer(self) -> Scorer:
        """Of responses [B, K, 2, S]."""
        of_vectors = self.head.vector_scorer()
        return lambda responses: of_vectors(responses.flatten(0, 1)).view(len(responses), -1).sum(1)


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
