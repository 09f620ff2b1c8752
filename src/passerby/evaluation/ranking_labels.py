"""Who matches whom: the identities and cameras of queries and gallery, and the rule for what counts."""

from dataclasses import dataclass

import torch
from torch import Tensor

from passerby.data.sample import DISTRACTOR
from passerby.errors import PasserbyError

NO_CAMERA = -1
"""Stands for 'not known' in an array of cameras; it is never the same camera as anything."""


@dataclass(frozen=True)
class Group:
    """The gallery images of each query's own identity, padded to the largest group of `n` queries.

    Attributes:
        index: [n, M] int64 gallery positions. Padding repeats the group's last (anything where the group is empty).
        match: [n, M] bool, same identity and not the same camera: to be found.
        junk: [n, M] bool, same identity and same camera: left out of the query's gallery.
    """

    index: Tensor
    match: Tensor
    junk: Tensor


class Labels:
    """Identities and cameras of Q queries and G gallery images, grouped once so that no [Q, G] comparison is needed.

    A gallery image of the query's identity is a match, unless the query's own camera took it: then it is junk, and
    removed for that query. Without cameras on either side there is no junk. Distractors (identity -1) match nobody,
    not even each other.

    Args:
        query_ids: [Q] integers.
        gallery_ids: [G] integers.
        query_cameras: [Q] integers, -1 where unknown; None where there are no cameras.
        gallery_cameras: [G] integers, -1 where unknown; None where there are no cameras.

    Raises:
        PasserbyError: when query or gallery is empty, or cameras and identities differ in number.
    """

    def __init__(
        self,
        query_ids: Tensor,
        gallery_ids: Tensor,
        query_cameras: Tensor | None = None,
        gallery_cameras: Tensor | None = None,
    ) -> None:
        for side, ids, cameras in (
            ("query", query_ids, query_cameras),
            ("gallery", gallery_ids, gallery_cameras),
        ):
            if ids.numel() == 0:
                raise PasserbyError(f"{side}: no images; ranking needs at least one on each side")
            if cameras is not None and cameras.shape != ids.shape:
                raise PasserbyError(
                    f"{side}: {len(ids)} identities but {len(cameras)} cameras; give each image one (-1 if unknown)"
                )
        self.query_ids = query_ids.cpu().long()
        self.gallery_ids = gallery_ids.cpu().long()
        self._query_cameras: Tensor | None = None
        self._gallery_cameras: Tensor | None = None
        if query_cameras is not None and gallery_cameras is not None:
            self._query_cameras, self._gallery_cameras = query_cameras.cpu().long(), gallery_cameras.cpu().long()
        ids, self._order = self.gallery_ids.sort(stable=True)
        self._first = torch.searchsorted(ids, self.query_ids)
        self._end = torch.searchsorted(ids, self.query_ids, right=True)
        self._end[self.query_ids == DISTRACTOR] = self._first[self.query_ids == DISTRACTOR]

    @property
    def shape(self) -> tuple[int, int]:
        """Number of queries and of gallery images, (Q, G)."""
        return len(self.query_ids), len(self.gallery_ids)

    def group(self, start: int, stop: int) -> Group:
        """The gallery images that share the identity of the queries `start` up to `stop`."""
        first, end = self._first[start:stop, None], self._end[start:stop, None]
        position = first + torch.arange(max(1, int((end - first).max())))
        real = position < end
        index = self._order[torch.minimum(position, end - 1).clamp_(min=0)]
        junk = torch.zeros_like(real)
        if self._query_cameras is not None and self._gallery_cameras is not None:
            camera = self._query_cameras[start:stop, None]
            junk = real & (self._gallery_cameras[index] == camera) & (camera != NO_CAMERA)
        return Group(index, real & ~junk, junk)

    def check_block(self, scores: Tensor, start: int) -> int:
        """The query after the last one of a block of scores [n, G] that begins with query `start`.

        Raises:
            PasserbyError: when the block does not fit the labels.
        """
        queries, gallery = self.shape
        if scores.ndim != 2 or scores.shape[1] != gallery or start + len(scores) > queries:
            raise PasserbyError(
                f"scores: a block of shape {tuple(scores.shape)} from query {start} on does not fit {queries} queries "
                f"and {gallery} gallery images; give blocks [n, {gallery}] that follow each other"
            )
        return start + len(scores)

    def check_complete(self, seen: int) -> None:
        """Raises PasserbyError unless scores of all queries have been `seen`."""
        if seen != len(self.query_ids):
            raise PasserbyError(
                f"scores: blocks of {seen} queries, but there are {len(self.query_ids)}; give all of them"
            )
