"""Rules by which a dataset without queries of its own, or all of a dataset, becomes a target."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from passerby.data.sample import DISTRACTOR, Sample

UNKNOWN_CAMERA = -1


def matched(query: Sequence[Sample], gallery: Sequence[Sample]) -> NDArray[np.bool_]:
    """Whether the gallery holds a match for each query: the same person, not seen by the same camera where it is known.

    Returns:
        [Q] bool; False for distractors.
    """
    ids, cameras = _labels([*query, *gallery])
    pair = np.unique(np.stack((ids, cameras)), axis=1, return_inverse=True)[1].ravel()
    person = np.unique(ids, return_inverse=True)[1].ravel()
    n = len(query)
    same_person = np.bincount(person[n:], minlength=len(ids))[person[:n]]
    same_camera = np.bincount(pair[n:], minlength=len(ids))[pair[:n]]
    junk = np.where(cameras[:n] == UNKNOWN_CAMERA, 0, same_camera)
    found: NDArray[np.bool_] = (same_person > junk) & (ids[:n] != DISTRACTOR)
    return found


def leave_out(samples: Sequence[Sample], seed: int) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """One random image of each identity and camera is a query, the rest is the gallery.

    A query without a match in that gallery is dropped, and is in neither. Distractors stay in the gallery. The outcome
    depends on the labels, the file names and the seed alone, not on the order of the samples or on where they lie.

    Args:
        samples: all images of the left-out source.
        seed: of the draw.

    Returns:
        Queries and gallery, both ordered by domain, identity, camera and file name. There may be no query.
    """
    ordered = sorted(samples, key=_place)
    ids, cameras = _labels(ordered)
    # Raw words of PCG64 are the one stream that numpy guarantees to keep.
    keys = np.random.PCG64(seed).random_raw(len(ordered))
    by_group = np.lexsort((keys, cameras, ids))
    first = np.ones(len(ordered), dtype=bool)
    first[1:] = (np.diff(ids[by_group]) != 0) | (np.diff(cameras[by_group]) != 0)
    drawn = np.zeros(len(ordered), dtype=bool)
    drawn[by_group[first]] = True
    drawn &= ids != DISTRACTOR
    queries = [sample for sample, is_query in zip(ordered, drawn, strict=True) if is_query]
    gallery = tuple(sample for sample, is_query in zip(ordered, drawn, strict=True) if not is_query)
    found = matched(queries, gallery)
    return tuple(query for query, has_match in zip(queries, found, strict=True) if has_match), gallery


def one_to_four(samples: Sequence[Sample], seed: int) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """A random fifth of the labelled images are queries, the rest is the gallery (Dou et al., "ISR", ICCV 2023, Table 2).

    A query without a match in that gallery is dropped, and is in neither. Distractors stay in the gallery. The outcome
    depends on the labels, the file names and the seed alone.

    Args:
        samples: all images of a dataset.
        seed: of the draw.

    Returns:
        Queries and gallery, both ordered by domain, identity, camera and file name. There may be no query.
    """
    ordered = sorted(samples, key=_place)
    people = np.flatnonzero(_labels(ordered)[0] != DISTRACTOR)
    keys = np.random.PCG64(seed).random_raw(len(people))
    drawn = set(people[np.argsort(keys, kind="stable")[: len(people) // 5]].tolist())
    queries = [sample for n, sample in enumerate(ordered) if n in drawn]
    gallery = tuple(sample for n, sample in enumerate(ordered) if n not in drawn)
    found = matched(queries, gallery)
    return tuple(query for query, has_match in zip(queries, found, strict=True) if has_match), gallery


def _labels(samples: Sequence[Sample]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    cameras = [UNKNOWN_CAMERA if s.camera is None else s.camera for s in samples]
    return np.array([s.identity for s in samples], dtype=np.int64), np.array(cameras, dtype=np.int64)


def _place(sample: Sample) -> tuple[str, int, int, tuple[str, ...]]:
    """A key that orders samples alike wherever their data root lies: the path counts from the file name upwards."""
    camera = UNKNOWN_CAMERA if sample.camera is None else sample.camera
    return sample.domain, sample.identity, camera, sample.image.parts[::-1]
