"""Targets: what a model is measured on, as queries and gallery, split by split."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from passerby.data.datasets import get_dataset, source_samples
from passerby.data.datasets.base import Dataset, Listing
from passerby.data.datasets.cuhk03 import release_file
from passerby.data.datasets.source import labelled_samples
from passerby.data.sample import DISTRACTOR, Sample
from passerby.errors import PasserbyError
from passerby.evaluation import cuhk03_classic
from passerby.evaluation.grid_partitions import FILE, official_partitions
from passerby.evaluation.left_out import leave_out, matched, one_to_four
from passerby.evaluation.small_targets import DIRECTIONS, small_target_images
from passerby.evaluation.splits import PEOPLE, StoredSplits, stored_splits


@dataclass(frozen=True)
class Split:
    """One way to cut a target into queries and a gallery.

    Attributes:
        query: images that are searched with.
        gallery: images that are searched through, distractors included.
        left_over: labelled images of the target that are neither; what may be looked at, without labels, besides the
            gallery (the statistics of a query's camera come from the images of that camera here).
    """

    query: tuple[Sample, ...]
    gallery: tuple[Sample, ...]
    left_over: tuple[Sample, ...]


@dataclass(frozen=True)
class Target:
    """A dataset as a model is measured on it.

    Attributes:
        name: of the dataset.
        splits: one or more; a result is their mean and standard deviation.
        split_id: names the very splits. The stored ones: `viper-10-3f2a9c`, by a hash of the people; `official` query
            and gallery; a left-out source: `left-out-0-3f2a9c`, by the seed and a hash of the images.
        direction: what queries what, `cam_a -> cam_b` say.
        single_gallery_shot: CMC over random galleries with one image of each person (CUHK03 as first evaluated); see
            `single_shot_cmc`.
        note: what a reader of the result must know about the splits, one line; None for nothing.
    """

    name: str
    splits: tuple[Split, ...]
    split_id: str
    direction: str
    single_gallery_shot: bool = False
    note: str | None = None

    @property
    def domain(self) -> str:
        """Whose people it shows: that of `cuhk03` for `cuhk03-labeled` too."""
        return self.splits[0].query[0].dataset

    @property
    def samples(self) -> tuple[Sample, ...]:
        """Every image that some split queries or has in its gallery, once, in the order met."""
        return tuple(dict.fromkeys(sample for split in self.splits for sample in (*split.query, *split.gallery)))


def open_target(
    spec: str, data_root: Path, held_out: bool = False, seed: int = 0, *, one_in_five: bool = False
) -> Target:
    """Opens a target by name, or as `name=path` for data of your own.

    VIPeR, PRID, GRID and i-LIDS have ten splits, `cuhk03-classic` and `cuhk03-labeled-classic` twenty. Other datasets have
    their official query and gallery. Where there are none (CUHK01, data of your own without them), and for a source that is
    held out, the rule of `left_out_target` holds.

    Args:
        spec: name of a dataset, or `name=path`.
        data_root: folder that holds the public datasets.
        held_out: whether it is a source that was left out of training: all its images are split by rule.
        seed: of that rule; stored and official splits do not heed it.
        one_in_five: whether a random fifth of all its images are queries and the rest the gallery, as `one_to_four` draws them.

    Raises:
        PasserbyError: for an unknown name, missing or incomplete data, or no query that has a match.
    """
    if spec in cuhk03_classic.NAMES:
        return _classic_cuhk03(spec, data_root)
    dataset = get_dataset(spec)
    if one_in_five:
        return one_to_four_target(dataset.name, source_samples(dataset, data_root, "all"), seed)
    if held_out:
        return left_out_target(dataset.name, source_samples(dataset, data_root, "all"), seed)
    listing = dataset.scan(data_root)
    partitions = official_partitions(dataset.folder(data_root)) if dataset.name == "grid" else None
    return make_target(dataset, listing, partitions, seed)


def make_target(dataset: Dataset, listing: Listing, partitions: StoredSplits | None = None, seed: int = 0) -> Target:
    """`open_target` of a listing that has been read already.

    Args:
        dataset: the dataset.
        listing: what was found in its folder.
        partitions: official partitions, which go before the stored splits.
        seed: of the rule for datasets without query and gallery.

    Raises:
        PasserbyError: as `open_target` does.
    """
    name = dataset.name
    if name in PEOPLE:
        splits = partitions or stored_splits(name)
        images = small_target_images(name, listing, splits)
        everything = labelled_samples(dataset, listing, "all")
        note = None
        if name == "grid" and partitions is None:
            note = f"no {FILE}: these are the package's seeded splits, not the official partitions"
        return _checked(name, images, everything, splits.split_id, DIRECTIONS[name], note)
    parts = [listing.parts.get(part, ()) for part in ("query", "gallery")]
    if all(parts):
        everything = labelled_samples(dataset, listing, "all")
        # CUHK03 has a query and a gallery of detected boxes, and others of labelled ones.
        boxes = next(
            (f"-{part}" for part in ("detected", "labeled") if part in dataset.source_parts(listing, "all")), ""
        )
        return _checked(name, [(parts[0], parts[1])], everything, f"official{boxes}", "query -> gallery")
    if any(parts) or "query" in dataset.published:
        missing = " and ".join(part for part in ("query", "gallery") if not listing.parts.get(part))
        raise PasserbyError(
            f"{name}: no image of its official {missing}; {dataset.missing_parts or f'unpack {dataset.title} whole'}, "
            "or measure on it as a left-out source (--protocol leave-one-source-out)"
        )
    return left_out_target(name, labelled_samples(dataset, listing, "all"), seed)


def left_out_target(name: str, samples: Sequence[Sample], seed: int) -> Target:
    """A left-out source as a target: one random image of each identity and camera is a query, the rest the gallery.

    Queries that have no match in that gallery are dropped. See `leave_out`.

    Args:
        name: of the source.
        samples: all its images.
        seed: of the draw.

    Raises:
        PasserbyError: when no query has a match.
    """
    query, gallery = leave_out(samples, seed)
    if not query:
        raise PasserbyError(
            f"{name}: no query has a match when it is left out; it takes people with two images by one camera and one "
            "by another (or two images, where cameras are not known), so take another source"
        )
    split_id = f"left-out-{seed}-{_digest(query, gallery)}"
    return _checked(name, [(query, gallery)], samples, split_id, "one image of each person and camera -> the rest")


def one_to_four_target(name: str, samples: Sequence[Sample], seed: int) -> Target:
    """A dataset of which a random fifth of the images are queries. See `one_to_four`.

    Args:
        name: of the dataset.
        samples: all its images.
        seed: of the draw.

    Raises:
        PasserbyError: when no query has a match.
    """
    query, gallery = one_to_four(samples, seed)
    if not query:
        raise PasserbyError(
            f"{name}: no query has a match when a fifth of {len(samples)} images are queries; it takes people seen by two "
            "cameras (or twice, where cameras are not known), so take another target"
        )
    split_id = f"one-to-four-{seed}-{_digest(query, gallery)}"
    return _checked(name, [(query, gallery)], samples, split_id, "a fifth of the images -> the rest")


def _digest(query: Sequence[Sample], gallery: Sequence[Sample]) -> str:
    content = "\n".join(
        f"{kind}\t{s.domain}\t{s.identity}\t{s.camera}\t{s.image.name}"
        for kind, images in (("query", query), ("gallery", gallery))
        for s in images
    )
    return hashlib.sha256(content.encode()).hexdigest()[:6]


def _checked(
    name: str,
    images: list[tuple[tuple[Sample, ...], tuple[Sample, ...]]],
    everything: Sequence[Sample],
    split_id: str,
    direction: str,
    note: str | None = None,
    single_gallery_shot: bool = False,
) -> Target:
    for query, gallery in images:
        if not matched(query, gallery).any():
            raise PasserbyError(
                f"{name}: no query has a match in the gallery ({len(query)} queries, {len(gallery)} gallery images); a "
                "match is the same identity seen by another camera; check identities and cameras"
            )
    labelled = [s for s in everything if s.identity != DISTRACTOR]
    splits = []
    for query, gallery in images:
        used = {*query, *gallery}
        splits.append(Split(query, gallery, tuple(s for s in labelled if s not in used)))
    return Target(name, tuple(splits), split_id, direction, single_gallery_shot, note)


def _classic_cuhk03(spec: str, data_root: Path) -> Target:
    dataset = get_dataset(cuhk03_classic.NAMES[spec])
    listing = dataset.scan(data_root)
    boxes = dataset.source_parts(listing, "all")[0]
    images = cuhk03_classic.classic_splits(listing, boxes, release_file(dataset.folder(data_root)))
    split_id = f"official-{boxes}-{len(images)}"
    everything = listing.parts[boxes]
    return _checked(spec, images, everything, split_id, cuhk03_classic.DIRECTION, single_gallery_shot=True)
