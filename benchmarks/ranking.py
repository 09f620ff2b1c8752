"""CMC + mAP + mINP, scores included, against the bare float32 matrix product of the same size.

    python benchmarks/ranking.py [--large]

Limits at Market-1501's size, 2 threads: 1.8 x on random features (nothing can be pruned), 1.4 x on features as of a
trained model; peak under 0.3 GiB above the features. With --large also MSMT17's size: peak under 1 GiB.
"""

import sys

import torch
from common import peak_gib, ratio
from torch.nn.functional import normalize

from passerby.evaluation.ranking import rank

WIDTH = 512


def labels(
    images: int, distractors: int, identities: int, cameras: int, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Identities, those of the distractors -1, and cameras of `images` images."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(identities, (images,), generator=generator)
    ids[:distractors] = -1
    return ids, torch.randint(cameras, (images,), generator=generator)


def features(ids: torch.Tensor, spread: float, seed: int) -> torch.Tensor:
    """[N, WIDTH] L2-normalised: a centre for each identity plus noise of deviation `spread`; infinite: noise."""
    centres = torch.randn(int(ids.max()) + 1, WIDTH, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(len(ids), WIDTH, generator=torch.Generator().manual_seed(seed))
    if spread == float("inf"):
        return normalize(noise)
    known = (ids >= 0).float()[:, None]
    return normalize(centres[ids.clamp(min=0)] * known + spread * noise)


def measure(
    name: str, queries: int, images: int, distractors: int, identities: int, cameras: int, repeats: int
) -> None:
    """Prints time ratio and peak for random and for clustered features."""
    query_ids, query_cameras = labels(queries, 0, identities, cameras, seed=1)
    gallery_ids, gallery_cameras = labels(images, distractors, identities, cameras, seed=2)
    for kind, spread in (("random", float("inf")), ("clustered", 2.0)):
        query, gallery = features(query_ids, spread, seed=3), features(gallery_ids, spread, seed=4)

        def work() -> object:
            return rank(query, gallery, query_ids, gallery_ids, query_cameras, gallery_cameras)  # noqa: B023

        peak = peak_gib(work)
        result = rank(query, gallery, query_ids, gallery_ids, query_cameras, gallery_cameras)
        line = f"{name} {kind}: peak {peak:.2f} GiB, mAP {result.mean_ap:.3f}, mINP {result.mean_inp:.3f}"
        if repeats:
            times, bare = ratio(work, lambda: query @ gallery.T, repeats)  # noqa: B023
            line += f", {times:.2f} x the matrix product ({bare:.3f} s)"
        print(line, flush=True)


if __name__ == "__main__":
    measure("Market-1501", 3368, 15913, 2798, 750, 6, repeats=15)
    if "--large" in sys.argv:
        measure("MSMT17", 11659, 82161, 0, 3060, 15, repeats=0)
