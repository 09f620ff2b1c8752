"""Cosine scores of two sets of features, a block of queries at a time."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from passerby.errors import PasserbyError
from passerby.matching.base import Matcher

BLOCK_SCORES = 1 << 24
"""Scores in a block: 64 MiB of float32. Large enough that starting threads for each block costs little."""


class Cosine(Matcher):
    """Inner products of L2-normalised embeddings.

    The blocks share one piece of memory, since fresh memory would take a sixth of the time.
    """

    def __init__(self, block_scores: int = BLOCK_SCORES) -> None:
        """A block has at most `block_scores` scores (one row at least)."""
        self.block_scores = block_scores

    def blocks(self, query: Tensor, gallery: Tensor) -> Iterator[Tensor]:
        """Yields blocks [n, G] that follow each other; each overwrites the one before.

        Args:
            query: [Q, D] float32, L2-normalised.
            gallery: [G, D] float32, L2-normalised, on the same device.

        Raises:
            PasserbyError: when the widths differ or a feature is not finite.
        """
        check_features(query, gallery)
        rows = max(1, self.block_scores // len(gallery))
        memory = query.new_empty(min(rows, len(query)), len(gallery))
        for part in torch.split(query, rows):
            yield torch.mm(part, gallery.T, out=memory[: len(part)])


def check_features(query: Tensor, gallery: Tensor) -> None:
    """Raises PasserbyError unless the two are finite, not empty, [Q, D] and [G, D]."""
    if query.ndim != 2 or gallery.ndim != 2 or query.shape[1] != gallery.shape[1]:
        raise PasserbyError(
            f"features: query {tuple(query.shape)} and gallery {tuple(gallery.shape)} do not go together; "
            "embed both with the same model, [Q, D] and [G, D]"
        )
    for side, features in (("query", query), ("gallery", gallery)):
        if len(features) == 0:
            raise PasserbyError(f"{side}: no features; ranking needs at least one on each side")
        # The sum of finite, normalised features is finite; NaN and infinity come through. It is cheap.
        if not math.isfinite(float(features.sum())):
            raise PasserbyError(f"{side}: features hold NaN or infinity; check the weights of the model and its input")
