"""How much a model takes the place for the person: what stands first, and in front of whose camera.

python docs/same_camera.py RUN DATA TARGET [WAY]    # TARGET is a source that RUN's training left out, WAY as --unknown takes it
"""

import sys
from pathlib import Path

import torch

from passerby.commands.adapted import look_as, parse_unknown
from passerby.data.sample import Sample
from passerby.evaluation.cascade import MatchedTarget
from passerby.evaluation.measure import embedded
from passerby.evaluation.scores import cosine_scores
from passerby.evaluation.targets import open_target
from passerby.models.load import load
from passerby.models.matching_model import MatchingModel


def main(run: str, data_root: str, name: str, way: str | None = None) -> None:
    """Prints rank-1, the share of wrong first images by the query's own camera, and rank-1 without that camera's images."""
    model = load(run)
    look_as(model, None if way is None else parse_unknown(way))
    target = open_target(name, Path(data_root), held_out=True)
    split = target.splits[0]
    if isinstance(model, MatchingModel):
        matched = MatchedTarget(model, target, None, progress=True)
        of_pairs = matched.scores(split, *matched.features(split))
    else:
        of_pairs = cosine_scores(*embedded(model, target, flip=False, progress=True)(split))
    right, by_camera, elsewhere, start = [], [], [], 0
    for scores in of_pairs.blocks():
        queries = split.query[start : start + len(scores)]
        start += len(queries)
        person, camera = (equal(queries, split.gallery, of) for of in ("identity", "camera"))
        first = scores.masked_fill(person & camera, -torch.inf).argmax(1, keepdim=True)
        right.append(person.gather(1, first))
        by_camera.append(camera.gather(1, first))
        elsewhere.append(person.gather(1, scores.masked_fill(camera, -torch.inf).argmax(1, keepdim=True)))
    wrong = ~torch.cat(right)
    print(
        f"rank-1 {percent(~wrong):.1f}; of the wrong first images {percent(torch.cat(by_camera)[wrong]):.0f} % are by the query's camera; "
        f"rank-1 among images by other cameras {percent(torch.cat(elsewhere)):.1f}"
    )


def equal(query: tuple[Sample, ...], gallery: tuple[Sample, ...], attribute: str) -> torch.Tensor:
    """Which pairs have an attribute in common, bool [Q, G]."""
    left, right = (torch.tensor([getattr(s, attribute) for s in side]) for side in (query, gallery))
    return left[:, None] == right


def percent(hits: torch.Tensor) -> float:
    """Of a bool tensor."""
    return 100 * float(hits.float().mean())


if __name__ == "__main__":
    main(*sys.argv[1:])
