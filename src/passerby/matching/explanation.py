"""Which places of two images match, for people to look at."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class MatchedPlaces:
    """The places of two maps of h x w places, counted row by row, and what each finds in the other.

    Attributes:
        size: (h, w).
        in_gallery: int64 [P], for each place of the query its best place in the gallery image.
        in_query: int64 [P], for each place of the gallery image its best place in the query.
        response: [P], inner product of each place of the query with its best.
        weight: [P], what a unit of it adds to the score where both places choose each other, about.
    """

    size: tuple[int, int]
    in_gallery: Tensor
    in_query: Tensor
    response: Tensor
    weight: Tensor

    @property
    def mutual(self) -> Tensor:
        """Bool [P]: places of the query that are the best place of their own best place."""
        return self.in_query[self.in_gallery] == torch.arange(len(self.in_gallery), device=self.in_query.device)

    def strongest(self, count: int) -> list[tuple[int, int]]:
        """Up to `count` pairs (place of the query, place of the gallery image) that chose each other.

        Those whose response counts most stand first.
        """
        worth = (self.response * self.weight).masked_fill(~self.mutual, -torch.inf)
        best = [place for place in worth.argsort(descending=True).tolist() if worth[place] > -torch.inf]
        return [(place, int(self.in_gallery[place])) for place in best[:count]]

    def centre(self, place: int) -> tuple[float, float]:
        """Where a place lies in the image: (right, down) of its middle as fractions of width and height."""
        row, column = divmod(place, self.size[1])
        return (column + 0.5) / self.size[1], (row + 0.5) / self.size[0]


def matched_places(query: Tensor, gallery: Tensor, weight: Tensor, size: tuple[int, int]) -> MatchedPlaces:
    """Matches descriptors [P, C] of two maps.

    Args:
        query: [P, C].
        gallery: [P, C].
        weight: [P].
        size: (h, w) of the maps.
    """
    products = query @ gallery.T
    response, in_gallery = products.max(1)
    # Where two places choose each other, the response counts from both sides.
    both = weight + weight[in_gallery]
    return MatchedPlaces(size, in_gallery.cpu(), products.argmax(0).cpu(), response.cpu(), both.cpu())
