"""A matcher on the best of the embedding's ranking: matching everything with everything is quadratic in places."""

from collections.abc import Iterator

import torch
from rich.progress import track
from torch import Tensor

from passerby.errors import PasserbyError
from passerby.evaluation.measure import SplitFeatures
from passerby.evaluation.ranking_topk import largest
from passerby.evaluation.scores import Scores
from passerby.evaluation.targets import Split, Target
from passerby.matching.cosine import Cosine
from passerby.matching.map_matcher import MapMatcher
from passerby.models.matching_model import MatchingModel

TOP_K = 200
"""Gallery images of each query that are matched by default."""
QUERIES = 64
"""Matched between two looks at the progress bar."""
GALLERY = 2048
"""Images of a gallery that are read from their file at once where all are matched."""


class Cascade:
    """Embeddings rank the gallery; the matcher re-orders the first k of each query.

    What it did not match stands behind what it did, in the embedding's order. With k of the whole gallery it is the matcher's own
    ranking, exact.

    Attributes:
        columns: int64 [Q, k], gallery positions that were matched; None: all.
        matched: [Q, k] their scores, or [Q, G].
    """

    def __init__(
        self,
        matcher: MapMatcher,
        embeddings: tuple[Tensor, Tensor],
        maps: tuple[Tensor, Tensor, Tensor],
        k: int | None,
        progress: bool = False,
    ) -> None:
        """Matches.

        Args:
            matcher: in eval mode.
            embeddings: of queries [Q, D] and gallery [G, D], rows of length 1.
            maps: rows [N, F] for the matcher, and which of them the queries [Q] and the gallery [G] are.
            k: gallery images of each query to match; None: all.
            progress: show a bar.
        """
        self._query, self._gallery = embeddings
        rows, query, gallery = maps
        self.columns = None if k is None or k >= len(gallery) else self._first(k)
        parts = []
        batches = range(0, len(query), QUERIES)
        for start in track(batches, "matching", transient=True, disable=not progress):
            of_queries = rows[query[start : start + QUERIES]]
            if self.columns is None:
                cut = [matcher.score(of_queries, rows[part]) for part in torch.split(gallery, GALLERY)]
                parts.append(torch.cat(cut, 1))
            else:
                parts.append(matcher.score_some(of_queries, rows, gallery[self.columns[start : start + QUERIES]]))
        self.matched = torch.cat(parts)

    def scores(self) -> Scores:
        """The scores of all pairs; of those that were not matched, numbers below that keep the embedding's order."""
        low, high = float(self.matched.min()), float(self.matched.max())
        # Cosines are at most 2 apart.
        return Scores(self._blocks, low - 2.5 if self.columns is not None else low, high + 1e-3)

    def _blocks(self) -> Iterator[Tensor]:
        if self.columns is None:
            yield from torch.split(self.matched, 1024)
            return
        start = 0
        for cosine in Cosine().blocks(self._query, self._gallery):
            rows = slice(start, start + len(cosine))
            columns, matched = self.columns[rows].to(cosine.device), self.matched[rows].to(cosine.device)
            last = cosine.gather(1, columns).amin(1, keepdim=True)
            scores = cosine - last + (matched.amin(1, keepdim=True) - 1e-3)
            yield scores.scatter_(1, columns, matched)
            start += len(cosine)

    def _first(self, k: int) -> Tensor:
        if k < 1:
            raise PasserbyError(f"--top-k {k}: the matcher needs something to match; give 1 or more, or all")
        return torch.cat([largest(block, k)[1].cpu() for block in Cosine().blocks(self._query, self._gallery)])


class MatchedTarget:
    """Every image of a target described once, for all its splits; splits are ranked by the model's matcher.

    Attributes:
        k: gallery images of each query that the matcher sees; None: all.
    """

    def __init__(self, model: MatchingModel, target: Target, k: int | None, progress: bool = False) -> None:
        """Describes the images.

        Raises:
            PasserbyError: when one cannot be read, or there is no room for the maps.
        """
        self.model, self.k, self.progress = model, k, progress
        samples = target.samples
        self.rows = {sample: row for row, sample in enumerate(samples)}
        self.embeddings, self.maps = model.describe([s.image for s in samples], progress=progress)

    @property
    def features(self) -> SplitFeatures:
        """Embeddings of a split's queries [Q, D] and gallery [G, D]."""

        def of_split(split: Split) -> tuple[Tensor, Tensor]:
            query, gallery = self._places(split)
            return self.embeddings[query], self.embeddings[gallery]

        return of_split

    def scores(self, split: Split, query: Tensor, gallery: Tensor) -> Scores:
        """The cascade's scores of a split with these embeddings."""
        maps = (self.maps, *self._places(split))
        return Cascade(self.model.eval().matcher, (query, gallery), maps, self.k, self.progress).scores()

    def _places(self, split: Split) -> tuple[Tensor, Tensor]:
        query, gallery = (torch.tensor([self.rows[s] for s in side]) for side in (split.query, split.gallery))
        return query, gallery
