"""What a recipe says about matching, and the matcher that comes of it."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from passerby.matching.experts import Experts, MSDAQAConv, TwoStreamQAConv, VotingQAConv
from passerby.matching.map_matcher import MapMatcher
from passerby.matching.maps import MapLayout
from passerby.matching.qaconv import MSQAConv


class MatcherSettings(BaseModel):
    """How two images are compared."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["cosine", "qaconv"] = "cosine"
    """By the cosine of their embeddings, or place by place on the maps of `model.stages`."""
    channels: int = Field(128, gt=0)
    """Each stage's map is projected to so many channels."""
    kernel: Literal[1, 3] = 3
    """Size of the projecting convolution (QAConv's program: 3)."""
    stripes: int = Field(8, gt=0)
    """Horizontal stripes of each map whose mean descriptors make the embedding, which finds what the matcher ranks."""
    specific: Experts | Literal["none"] = "none"
    """TAL's domain-specific stream: how the experts of domain norms are brought together, by `attention` (MSDA-QAConv), `average`
    or `vote`; `none`: no such stream."""
    invariant: Literal["none", "mix", "batch"] = "none"
    """TAL's domain-invariant stream: domain norms that `mix` their experts (DABN; by `model.bank.attention`, or on average where it
    is 0), or one more set of plain `batch` statistics, of images of all domains; `none`: no such stream."""
    reduction: int = Field(16, gt=0)
    """r of the attention over experts."""

    @model_validator(mode="after")
    def _streams_are_matched(self) -> Self:
        if self.kind == "cosine" and (self.specific, self.invariant) != ("none", "none"):
            raise ValueError(
                "kind=cosine: compares embeddings and has no streams; set kind to qaconv, or specific and invariant to none"
            )
        return self

    @property
    def two_streams(self) -> bool:
        """Whether there is a domain-specific stream and a domain-invariant one."""
        return "none" not in (self.specific, self.invariant)

    def build(self, sizes: tuple[tuple[int, int], ...], domains: int) -> MapMatcher:
        """The matcher for maps of these sizes and K domains."""

        def layout(views: int) -> MapLayout:
            return MapLayout(self.channels, sizes, views)

        if self.specific == "none":
            return MSQAConv(layout(1))
        specific: MSDAQAConv | VotingQAConv = (
            VotingQAConv(layout(domains))
            if self.specific == "vote"
            else MSDAQAConv(layout(domains), self.specific, self.reduction)
        )
        return specific if self.invariant == "none" else TwoStreamQAConv(specific, MSQAConv(layout(1)))
