"""A map of a target's embeddings in two dimensions."""

import numpy as np
import torch
from torch import Tensor

from passerby.evaluation.measure import Measurement
from passerby.report.cards import Card
from passerby.report.drawing import INK, SERIES, new_axes, to_svg

MOST_QUERIES = 300


def map_card(measurement: Measurement, name: str) -> Card:
    """The map of the first split: queries, what they should find, and a line between the two.

    Args:
        measurement: of a target.
        name: of the figure, unique within its page.
    """
    query, match = _pairs(measurement)
    places = embed_in_plane(torch.cat([query, match]))
    distance = (query * match).sum(1).mean()
    return Card(
        "Map of the embeddings",
        map_figure(places[: len(query)], places[len(query) :], name),
        f"{len(query)} queries and for each a gallery image of the same person (the first split), by t-SNE of the cosine "
        f"distances. Short lines: the two views of a person lie close. Mean cosine of such pairs: {distance:.2f}. (MetaBIN, Fig. 3)",
        f"t-SNE map of queries and gallery images of {measurement.target.name}",
    )


def embed_in_plane(features: Tensor) -> np.ndarray:
    """t-SNE (scikit-learn) by cosine distance, started from the principal components: the same map every time.

    Args:
        features: [N, D].

    Returns:
        [N, 2].
    """
    from sklearn.manifold import TSNE

    perplexity = min(30.0, max(1.0, (len(features) - 1) / 3))
    tsne = TSNE(perplexity=perplexity, metric="cosine", init="random", random_state=0)
    plane: np.ndarray = tsne.fit_transform(features.numpy())
    return plane


def map_figure(query: np.ndarray, match: np.ndarray, name: str) -> str:
    """Circles for queries, triangles for gallery images, a line between the two of a person.

    Args:
        query: [N, 2].
        match: [N, 2], of the same people in the same order.
        name: of the figure, unique within its page.

    Returns:
        an <svg> element, coloured as `cmc_figure` is.
    """
    figure, axes = new_axes(height=4.6)
    gap = np.full(len(query), np.nan)
    lines = [np.stack([query[:, d], match[:, d], gap], 1).reshape(-1) for d in (0, 1)]
    axes.plot(*lines, color=INK, linewidth=0.5, alpha=0.35)
    axes.scatter(query[:, 0], query[:, 1], s=9, color=SERIES[0], marker="o", label="query", linewidth=0)
    axes.scatter(match[:, 0], match[:, 1], s=11, color=SERIES[1], marker="^", label="gallery", linewidth=0)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False, labelcolor=INK)
    return to_svg(figure, name)


def _pairs(measurement: Measurement) -> tuple[Tensor, Tensor]:
    """Embeddings of queries of the first split, spread evenly, and of the first gallery match of each, [n, D] both."""
    outcome = measurement.outcomes[0]
    gallery: dict[int, list[int]] = {}
    for row, sample in enumerate(outcome.split.gallery):
        gallery.setdefault(sample.identity, []).append(row)
    pairs = []
    for row, sample in enumerate(outcome.split.query):
        others = [
            other
            for other in gallery.get(sample.identity, [])
            if sample.camera is None or outcome.split.gallery[other].camera != sample.camera
        ]
        if others:
            pairs.append((row, others[0]))
    chosen = np.linspace(0, len(pairs) - 1, min(MOST_QUERIES, len(pairs))).astype(int)
    rows = torch.tensor([pairs[index] for index in chosen])
    return outcome.query[rows[:, 0]], outcome.gallery[rows[:, 1]]
