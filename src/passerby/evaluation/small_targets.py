"""VIPeR, PRID, GRID and i-LIDS: from the people that a split names to the images that are its queries and its gallery.

All four are single shot: the gallery has one image of each person.
"""

from collections.abc import Iterable
from itertools import groupby

from passerby.data.datasets.base import Listing
from passerby.data.sample import DISTRACTOR, Sample
from passerby.errors import PasserbyError
from passerby.evaluation.splits import StoredSplits

Images = tuple[Sample, ...]

PRID_SHARED = 200
"""People 1 to 200 of PRID were seen by both cameras; whatever a larger number names, it is nobody else's query."""
OTHERS = {"prid": 549, "grid": 775}
"""Gallery images of people who are nobody's query."""

DIRECTIONS = {
    "viper": "cam_a -> cam_b",
    "prid": "cam_a -> cam_b",
    "grid": "probe -> gallery",
    "ilids": "one random image -> another",
}


def small_target_images(name: str, listing: Listing, splits: StoredSplits) -> list[tuple[Images, Images]]:
    """Queries and gallery of each split of a small target, both in the order of identities, other people last.

    Args:
        name: viper, prid, grid or ilids.
        listing: what was found in its folder.
        splits: the people of each split, ours or official ones.

    Raises:
        PasserbyError: when an image that a split needs is not there, or a person has two where one is official.
    """
    if name == "ilids":
        return [
            _picked(listing, people, picks) for people, picks in zip(splits.people, splits.picks or (), strict=True)
        ]
    query_part, gallery_part = DIRECTIONS[name].split(" -> ")
    probes, gallery = _part(name, listing, query_part), _part(name, listing, gallery_part)
    if name == "prid":
        others = tuple(s for s in gallery if s.identity == DISTRACTOR or s.identity > PRID_SHARED)
    else:
        others = tuple(s for s in gallery if s.identity == DISTRACTOR)
    if len(others) != OTHERS.get(name, 0):
        raise PasserbyError(
            f"{name}: {gallery_part} has {len(others)} images of people who are nobody's query, not "
            f"{OTHERS.get(name, 0)}; unpack the dataset again"
        )
    apart = set(others)
    query_of = _single_images(name, query_part, (s for s in probes if s.identity != DISTRACTOR))
    gallery_of = _single_images(name, gallery_part, (s for s in gallery if s not in apart))
    return [
        (
            _images_of(name, query_part, query_of, people),
            _images_of(name, gallery_part, gallery_of, people) + others,
        )
        for people in splits.people
    ]


def _part(name: str, listing: Listing, part: str) -> Images:
    if part not in listing.parts:
        raise PasserbyError(f"{name}: its folder {part} is not there; unpack the dataset again")
    return listing.parts[part]


def _single_images(name: str, part: str, samples: Iterable[Sample]) -> dict[int, Sample]:
    images: dict[int, Sample] = {}
    for sample in samples:
        other = images.setdefault(sample.identity, sample)
        if other is not sample:
            raise PasserbyError(
                f"{name}: {part} has two images of person {sample.identity}, {other.image} and {sample.image.name}; "
                "remove the one that is not official"
            )
    return images


def _images_of(name: str, part: str, images: dict[int, Sample], people: tuple[int, ...]) -> Images:
    missing = [person for person in people if person not in images]
    if missing:
        raise PasserbyError(
            f"{name}: {part} has no image of person {missing[0]} ({len(missing)} of {len(people)} people of a split "
            "are missing); unpack the dataset again"
        )
    return tuple(images[person] for person in people)


def _picked(listing: Listing, people: tuple[int, ...], picks: tuple[tuple[float, float], ...]) -> tuple[Images, Images]:
    in_order = sorted(_part("ilids", listing, "all"), key=lambda s: (s.identity, s.image.name))
    images_of = {identity: list(images) for identity, images in groupby(in_order, key=lambda s: s.identity)}
    queries, gallery = [], []
    for person, (u, v) in zip(people, picks, strict=True):
        images = images_of.get(person, [])
        if len(images) < 2:
            raise PasserbyError(
                f"ilids: {len(images)} images of person {person}, two are needed; unpack the dataset again"
            )
        queries.append(images.pop(int(u * len(images))))
        gallery.append(images[int(v * len(images))])
    return tuple(queries), tuple(gallery)
