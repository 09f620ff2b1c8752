"""k-reciprocal re-ranking against the bare float32 product of all pairs of query and gallery, at Market-1501's size.

    python benchmarks/reranking.py

Limits, 2 threads: 2.2 x, peak under 1.2 GiB above the features. The peak counts the scores handed back (0.2 GiB).
"""

import torch
from common import peak_gib, ratio
from ranking import features, labels

from passerby.evaluation.reranking import rerank

if __name__ == "__main__":
    query_ids, _ = labels(3368, 0, 750, 6, seed=1)
    gallery_ids, _ = labels(15913, 2798, 750, 6, seed=2)
    for kind, spread in (("random", float("inf")), ("clustered", 2.0)):
        query, gallery = features(query_ids, spread, seed=3), features(gallery_ids, spread, seed=4)
        everything = torch.cat([query, gallery])
        peak = peak_gib(lambda: rerank(query, gallery))  # noqa: B023
        times, bare = ratio(
            lambda: rerank(query, gallery),  # noqa: B023
            lambda: [part @ everything.T for part in everything.split(1024)].clear(),  # noqa: B023
            repeats=3,
        )
        print(f"{kind}: {times:.2f} x the matrix product ({bare:.2f} s), peak {peak:.2f} GiB", flush=True)
