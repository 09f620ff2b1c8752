"""What the matchers of maps share: blocks of pairs of images, within a batch with gradients, and some pairs alone."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise as neighbours

import torch
from torch import Tensor, nn

from passerby.errors import PasserbyError
from passerby.matching.base import Matcher
from passerby.matching.explanation import MatchedPlaces, matched_places
from passerby.matching.maps import MapLayout
from passerby.matching.response import best_responses, gallery_at_once, pairs_at_once, respond

CACHED = 2**21
"""Bytes of products at a time on the CPU: two cores keep them in their second-level caches."""
ON_DEVICE = 2**28
"""The same on an accelerator, where small products are slow."""
GATHERED_BYTES = 2**23
"""Of gallery images, float32, that are gathered for a query at a time: small maps take many, or calls would take the time."""
QUERY_BYTES = 2**25
"""Of a batch of queries, float32, that the gallery passes by at once."""
Scorer = Callable[[Tensor], Tensor]
"""Scores [B] of the responses of B pairs, [B, views, 2, S]: largest inner products of the places of both images, S over all
scales."""
_SLICES = 4
"""Of a batch that is matched with itself: the more, the less is matched twice, and the smaller the products."""


class MapMatcher(nn.Module, Matcher):
    """Matches images by the responses of their maps; a subclass says what the responses of a pair amount to.

    Scores are symmetric: score(a, b) = score(b, a).

    Attributes:
        layout: what maps it was built for.
        block_bytes: of products of places at a time, which bounds the memory; None: what suits the device.
    """

    def __init__(self, layout: MapLayout, block_bytes: int | None = None) -> None:
        """Built for maps of one layout."""
        super().__init__()
        self.layout, self.block_bytes = layout, block_bytes

    @abstractmethod
    def scorer(self) -> Scorer:
        """What makes scores of responses, as the matcher is now; made once for many blocks."""

    @property
    @abstractmethod
    def place_weights(self) -> Tensor:
        """[views, S], what a unit of response at each place adds to the score, about."""

    def pairwise(self, maps: Sequence[Tensor], scorer: Scorer | None = None) -> Tensor:
        """Scores of a batch with itself, [N, N], with gradients; float32 at least.

        Args:
            maps: of each scale, [views, N, C, h, w], L2-normalised over channels.
            scorer: of the N x N pairs, row by row; None: the matcher's own.

        Raises:
            PasserbyError: for maps that the matcher was not built for.
        """
        count = maps[0].shape[1]
        with torch.autocast(maps[0].device.type, enabled=False):
            views = self.layout.descriptors(self.layout.row(maps))
            by_view = [torch.cat([self._with_itself(scale) for scale in scales], dim=3) for scales in views]
            return (scorer or self.scorer())(torch.stack(by_view, 2).flatten(0, 1)).view(count, count)

    def _with_itself(self, places: Tensor) -> Tensor:
        """Responses [N, N, 2, P] of descriptors [N, P, C]; what is symmetric is matched once."""
        bounds = torch.linspace(0, len(places), min(_SLICES, len(places)) + 1).long().tolist()
        blocks = [best_responses(places[a:], places[a:b], self._bytes) for a, b in neighbours(bounds)]
        rows = []
        for k, (start, stop) in enumerate(neighbours(bounds)):
            # What earlier slices found with this one, seen from the other side.
            before = [
                block[:, start - first : stop - first].transpose(0, 1).flip(2)
                for block, first in zip(blocks[:k], bounds, strict=False)
            ]
            rows.append(torch.cat([*before, blocks[k]], dim=1))
        return torch.cat(rows)

    @torch.no_grad()
    def blocks(self, query: Tensor, gallery: Tensor) -> Iterator[Tensor]:
        """Yields scores [n, G] on the CPU, n queries at a time; of a matcher in eval mode, or its norms would go by the block.

        Args:
            query: [Q, F], float16 or the dtype of the matcher's weights, on any device.
            gallery: [G, F], likewise; may be memory-mapped.

        Raises:
            PasserbyError: for rows that the matcher was not built for, or nothing to match.
        """
        for side, rows in (("query", query), ("gallery", gallery)):
            if len(rows) == 0:
                raise PasserbyError(f"{side}: no features; matching needs at least one on each side")
        scorer = self.scorer()
        for part in torch.split(query, max(1, QUERY_BYTES // (4 * self.layout.width))):
            yield self._score_batch(scorer, self.layout.descriptors(part.to(self._device)), gallery)

    def _score_batch(self, scorer: Scorer, query: list[list[Tensor]], gallery: Tensor) -> Tensor:
        like = query[0][0]
        scores = torch.empty(len(like), len(gallery), dtype=like.dtype)
        pairs = pairs_at_once(max(self.layout.places), like.element_size(), self._bytes)
        rows = min(gallery_at_once(pairs), len(gallery))
        memory = self._memory(like, rows, min(max(1, pairs // rows), len(like)))
        for start in range(0, len(gallery), rows):
            block = self.layout.descriptors(gallery[start : start + rows].to(self._device))
            responses = self._respond(query, block, memory)
            scores[:, start : start + rows] = scorer(responses.flatten(0, 1)).view(-1, len(like)).T
        return scores

    @torch.no_grad()
    def score_some(self, query: Tensor, gallery: Tensor, columns: Tensor) -> Tensor:
        """Scores of each query with some images of the gallery, [Q, k] on the CPU.

        Args:
            query: [Q, F].
            gallery: [G, F]; may be memory-mapped.
            columns: int64 [Q, k], rows of `gallery` for each query.

        Raises:
            PasserbyError: for rows that the matcher was not built for.
        """
        scorer = self.scorer()
        views = self.layout.descriptors(query.to(self._device))
        like = views[0][0]
        scores = torch.empty(columns.shape, dtype=like.dtype)
        pairs = pairs_at_once(max(self.layout.places), like.element_size(), self._bytes)
        rows = min(pairs, columns.shape[1], max(1, GATHERED_BYTES // (4 * self.layout.width)))
        memory = self._memory(like, rows, 1)
        # Fresh memory for every block would take more time than the products.
        gathered, wide = gallery.new_empty(rows, gallery.shape[1]), like.new_empty(rows * gallery.shape[1])
        # In the order of memory: neighbours in the gallery are read together.
        ordered, order = columns.sort(1)
        for row, (wanted, places) in enumerate(zip(ordered, order, strict=True)):
            of_query = [[scale[row : row + 1] for scale in view] for view in views]
            parts = []
            for chosen in torch.split(wanted, rows):
                found = torch.index_select(gallery, 0, chosen, out=gathered[: len(chosen)])
                block = self.layout.descriptors(found, wide)
                parts.append(self._respond(of_query, block, memory)[:, 0])
            scores[row, places] = scorer(torch.cat(parts)).cpu()
        return scores

    def _respond(self, query: list[list[Tensor]], gallery: list[list[Tensor]], memory: Tensor) -> Tensor:
        """Responses [G, Q, views, 2, S] of a block of the gallery, of as many queries at a time as `memory` has room for."""
        count, g = len(query[0][0]), len(gallery[0][0])
        responses = memory.new_empty(g, count, self.layout.views, 2, sum(self.layout.places))
        for view in range(self.layout.views):
            parts = responses[:, :, view].split(list(self.layout.places), dim=3)  # type: ignore[no-untyped-call]
            for of_query, of_gallery, out in zip(query[view], gallery[view], parts, strict=True):
                columns = max(1, len(memory) // (g * of_query.shape[1] ** 2))
                for left in range(0, count, columns):
                    respond(of_query[left : left + columns], of_gallery, memory, out[:, left : left + columns])
        return responses

    def _memory(self, like: Tensor, gallery: int, queries: int) -> Tensor:
        """Room for the products of so many pairs."""
        return like.new_empty(gallery * queries * max(self.layout.places) ** 2)

    @torch.no_grad()
    def explain(self, query: Tensor, gallery: Tensor) -> list[list[MatchedPlaces]]:
        """Which places of two images match, by view and scale.

        Args:
            query: [F], features of one image.
            gallery: [F], of another.

        Raises:
            PasserbyError: for rows that the matcher was not built for.
        """
        sides = [self.layout.descriptors(row[None].to(self._device)) for row in (query, gallery)]
        weights = [view.split(list(self.layout.places)) for view in self.place_weights]
        return [
            [
                matched_places(a[0], b[0], weight, size)
                for a, b, weight, size in zip(*scales, self.layout.sizes, strict=True)
            ]
            for scales in zip(*sides, weights, strict=True)
        ]

    @property
    def _device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def _bytes(self) -> int:
        return self.block_bytes or (CACHED if self._device.type == "cpu" else ON_DEVICE)
