"""Who looks most like whom: against brute force, and shared by two processes."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from passerby.data.sampling import Indices
from passerby.losses.feature_queue import FeatureQueue, Origin
from passerby.matching.cosine import Cosine
from passerby.methods.film import remember
from passerby.methods.graph import Graph, nearest

WORLD = 2
SHOWN = np.array([5, 0, 8, 3, 7, 1, 2])
ANCHORS = np.array([6, 0, 3, 2, 0])


def features() -> Tensor:
    return torch.nn.functional.normalize(
        torch.randn(200, 4, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    )


def graph(features: Tensor) -> Graph:
    return Graph(lambda indices: features[torch.from_numpy(indices)], Cosine())


def brute_force(features: Tensor, shown: Indices, anchors: Indices, count: int) -> list[list[int]]:
    """One anchor after the other: all others in the order of their cosines."""
    found = []
    for anchor in anchors:
        cosines = {j: float(features[shown[anchor]] @ features[shown[j]]) for j in range(len(shown)) if j != anchor}
        found.append(sorted(cosines, key=lambda j: -cosines[j])[:count])
    return found


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 150), st.integers(1, 90), st.integers(0, 10_000), st.data())
def test_nearest_is_brute_force(images: int, anchors: int, seed: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    shown, asked = rng.permutation(200)[:images], rng.integers(0, images, anchors)
    count = data.draw(st.integers(1, images - 1))
    found = nearest(graph(features()), shown, asked, count)
    assert found.tolist() == brute_force(features(), shown, asked, count)


def process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORLD)
    described: list[int] = []

    def describe(indices: Indices) -> Tensor:
        described.extend(indices.tolist())
        return features()[torch.from_numpy(indices)]

    found = nearest(Graph(describe, Cosine()), SHOWN, ANCHORS, 3)
    queue = FeatureQueue(8, 4)
    mine = slice(0, 3) if rank == 0 else slice(3, 5)
    video = torch.arange(5)[mine]
    remember(queue, features()[mine], Origin(video, video + 10, 0.5 * video))
    torch.save({"found": found, "described": described, "queue": queue.state_dict()}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_share_the_work_and_agree(tmp_path: Path) -> None:
    mp.start_processes(process, (str(tmp_path),), nprocs=WORLD, start_method="fork")
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in range(WORLD))
    assert first["found"].tolist() == second["found"].tolist() == brute_force(features(), SHOWN, ANCHORS, 3)
    assert len(first["described"]) == len(second["described"]) == 4
    assert {*first["described"], *second["described"]} == {*SHOWN.tolist()}
    assert torch.equal(first["queue"]["features"], second["queue"]["features"])
    torch.testing.assert_close(first["queue"]["features"][:5], features()[:5].float())
    assert first["queue"]["video"][:5].tolist() == [0, 1, 2, 3, 4]
    assert first["queue"]["film"][:5].tolist() == [10, 11, 12, 13, 14]
    assert second["queue"]["time"][:5].tolist() == [0, 0.5, 1, 1.5, 2]
