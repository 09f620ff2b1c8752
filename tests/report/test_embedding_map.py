"""The map of embeddings: the pairs that belong together, the same map every time."""

import numpy as np
import torch

from passerby.report.embedding_map import embed_in_plane, map_figure


def test_neighbours_stay_neighbours_and_the_map_is_the_same_twice() -> None:
    generator = torch.Generator().manual_seed(0)
    people = torch.nn.functional.normalize(torch.randn(12, 16, generator=generator))
    views = torch.nn.functional.normalize(people + 0.05 * torch.randn(12, 16, generator=generator))
    plane = embed_in_plane(torch.cat([people, views]))
    assert plane.shape == (24, 2)
    distances = np.linalg.norm(plane[:12, None] - plane[None, 12:], axis=2)
    assert (distances.argmin(1) == np.arange(12)).mean() > 0.8
    assert np.array_equal(plane, embed_in_plane(torch.cat([people, views])))


def test_two_images_are_enough() -> None:
    assert np.isfinite(embed_in_plane(torch.eye(2))).all()


def test_a_mark_for_every_image_and_a_line_for_every_pair() -> None:
    query, match = np.random.default_rng(0).normal(size=(2, 7, 2))
    svg = map_figure(query, match, "map-1")
    assert svg.count("<use ") == 14 + 2  # and one each in the legend
    assert 'id="map-1' not in svg
    assert svg != map_figure(query, match + 1, "map-1")
