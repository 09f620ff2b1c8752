"""Shards opened for training: super frames turned into batches, decoded in memory that does not grow with the film."""

import hashlib
import math
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.progress import track
from torch import Tensor

from passerby.data.images import Pixels, Preprocessing, to_tensor
from passerby.data.video.crops import StoredCrop
from passerby.data.video.frame_pairs import FramePairSettings, FramePlan, Ints, ShotFrames, Visit
from passerby.data.video.shards import Shards, ShotKey, open_shards
from passerby.data.video.sources import shown_by
from passerby.errors import PasserbyError

MANY_SHOTS = 20_000
"""From here on reading listings or planning takes seconds, and a bar is shown."""
UNKNOWN = -1
"""Truth of a crop of which nobody knows who it shows."""


@dataclass
class FilmBatch:
    """The crops of one super frame.

    Attributes:
        images: uint8 [N, 3, H, W] as decoded; float32, augmented and normalised, when a method sees it.
        video: int64 [N], the shot that each crop is of.
        film: int64 [N], the film that the shot is of.
        time: float32 [N], seconds from the film's first frame.
        frame: int64 [N], the side of the super frame that it stands on.
        truth: int64 [N], who it is, counted within its film; -1 where unknown. Methods measure with it and never train on it.
        step: step of the run, which seeds whatever is drawn for this batch.
        second: the same crops once more, for methods that look at two views of them.
    """

    images: Tensor
    video: Tensor
    film: Tensor
    time: Tensor
    frame: Tensor
    truth: Tensor
    step: int
    second: "FilmBatch | None" = None


class FilmSet:
    """The shots of some sets of shards, and the plan by which a run sees them.

    Attributes:
        names: of the sets: their folders' names.
        shards: the sets.
        plan: super frames, epoch by epoch.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        preprocessing: Preprocessing,
        settings: FramePairSettings,
        seed: int,
        processes: int = 1,
    ) -> None:
        """Opens the sets; their tars are read later, frame by frame.

        Args:
            folders: of shards, as `passerby ingest` writes them.
            preprocessing: size of the crops.
            settings: how frames are drawn.
            seed: fixes every draw.
            processes: how many train together, each on super frames of its own.

        Raises:
            PasserbyError: when there is no set, one stands twice, two hold the same film, or no shot can be drawn from.
        """
        if not folders:
            raise PasserbyError(
                "data.shards: empty; name folders of shards, as in --set data.shards=SHARDS (passerby ingest makes them)"
            )
        self.names = [folder.resolve().name for folder in folders]
        if twice := next((name for name in self.names if self.names.count(name) > 1), None):
            raise PasserbyError(f"data.shards: two folders are called '{twice}'; name each set once, or rename one")
        self.shards: list[Shards] = [open_shards(folder) for folder in folders]
        self._preprocessing, self._settings = preprocessing, settings
        self._shots = [(shards, number) for shards in self.shards for number in range(len(shards.shots))]
        films = [(place, key.film.name) for place, shards in enumerate(self.shards) for key in shards.shots]
        self._films = np.unique(films, axis=0, return_inverse=True)[1]
        few = len(self._shots) < MANY_SHOTS
        listed = []
        first: dict[str, tuple[Path, str]] = {}
        for shards, number in track(self._shots, "reading listings", transient=True, disable=few):
            frames = shards.frames(number)
            here = shards.folder, shards.shots[number].film.name
            there = first.setdefault(shown_by(shards.source(number)), here)
            if there != here:  # its people would be negatives of themselves
                raise PasserbyError(
                    f"data.shards: the film '{there[1]}' in {there[0]} is the film '{here[1]}' in {here[0]}; "
                    "ingest all films into one set, which takes each once, or leave out one of the two sets"
                )
            # As arrays: the numbers of millions of frames as objects would fill the memory.
            listed.append(ShotFrames(np.array(frames.times), np.array(frames.crops)))
        self.plan = FramePlan(listed, settings, seed, processes)
        self._decoded: OrderedDict[tuple[int, int], tuple[Pixels, Ints]] = OrderedDict()
        self._bytes = 0

    @property
    def digests(self) -> list[str]:
        """Of each set: sha256 over the names and digests of its tars."""
        lines = [[f"{tar.name} {tar.sha256}" for film in shards.films for tar in film.tars] for shards in self.shards]
        return [hashlib.sha256("\n".join(sorted(tars)).encode()).hexdigest() for tars in lines]

    @property
    def span(self) -> float:
        """Seconds between the farthest moments of two of the plan's shots; infinite where they are of several films."""
        if len({int(self._films[place]) for place in self.plan.shots}) > 1:
            return math.inf
        shots = [key.shot for _, key in self.drawn]
        return max(shot.end for shot in shots) - min(shot.start for shot in shots) if len(shots) > 1 else 0.0

    @property
    def drawn(self) -> list[tuple[Shards, ShotKey]]:
        """The shots that the plan draws from, each with its set."""
        return [(shards, shards.shots[number]) for shards, number in (self._shots[place] for place in self.plan.shots)]

    def batch(self, visits: Sequence[Visit], step: int) -> FilmBatch:
        """The batch of a super frame, not yet augmented.

        Raises:
            PasserbyError: when a tar or a crop in it cannot be read.
        """
        wanted = [(visit.shot, frame) for visit in visits for frame in visit.frames]
        self._load(wanted)
        found = [self._decoded[key] for key in wanted]
        counts = [len(truth) for _, truth in found]
        sides = [side for visit in visits for side in range(len(visit.frames))]
        shots = [shot for shot, _ in wanted]
        batch = FilmBatch(
            to_tensor(np.concatenate([pixels for pixels, _ in found])),
            torch.from_numpy(np.repeat(shots, counts)),
            torch.from_numpy(np.repeat(self._films[shots], counts)),
            torch.from_numpy(np.repeat([self._time(*key) for key in wanted], counts)).float(),
            torch.from_numpy(np.repeat(sides, counts)),
            torch.from_numpy(np.concatenate([truth for _, truth in found])),
            step,
        )
        self._forget()
        return batch

    def _time(self, shot: int, frame: int) -> float:
        shards, number = self._shots[shot]
        return shards.frames(number).times[frame]

    def examples(self, count: int) -> Pixels:
        """About so many crops of the first super frames of the plan, [n, H, W, 3]."""
        parts: list[Pixels] = []
        for step in range(self.plan.steps(0)):
            if sum(map(len, parts)) < count:
                parts.append(self.batch(self.plan.super_frame(0, step), step).images.permute(0, 2, 3, 1).numpy())
        return np.concatenate(parts)[:count]

    def _load(self, wanted: Sequence[tuple[int, int]]) -> None:
        """Decodes what is wanted and not in memory; what is wanted stands last, to be forgotten last."""
        missing: dict[int, list[int]] = {}
        for key in wanted:
            if key in self._decoded:
                self._decoded.move_to_end(key)
            else:
                missing.setdefault(key[0], []).append(key[1])
        crops = {(shot, frame): own for shot, frames in missing.items() for frame, own in self._read(shot, frames)}
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            pixels = list(pool.map(self._decode, (stored for own in crops.values() for stored in own)))
        start = 0
        for key, own in crops.items():
            truth = [UNKNOWN if stored.crop.identity is None else stored.crop.identity for stored in own]
            images = np.stack(pixels[start : start + len(own)])
            self._decoded[key] = images, np.array(truth, np.int64)
            self._bytes += images.nbytes
            start += len(own)

    def _read(self, shot: int, frames: list[int]) -> Iterator[tuple[int, list[StoredCrop]]]:
        shards, number = self._shots[shot]
        stored = shards.read(number, frames)
        counts, start = shards.frames(number).crops, 0
        for frame in frames:
            yield frame, _largest(stored[start : start + counts[frame]], self._settings.crops)
            start += counts[frame]

    def _decode(self, stored: StoredCrop) -> Pixels:
        try:
            with Image.open(BytesIO(stored.jpeg)) as image:
                return self._preprocessing.resize(image)
        except Exception as error:  # Pillow's decoders raise errors of many types on damaged bytes
            reason = " ".join(str(error).split()) or type(error).__name__
            raise PasserbyError(
                f"{stored.crop.key}.jpg: cannot be read as an image ({reason}); make the shards again"
            ) from error

    def _forget(self) -> None:
        while self._bytes > self._settings.memory * 2**20:
            self._bytes -= self._decoded.popitem(last=False)[1][0].nbytes


def _largest(crops: list[StoredCrop], most: int) -> list[StoredCrop]:
    """The `most` crops with the largest boxes, in their order; the first ones where boxes are not known."""

    def area(stored: StoredCrop) -> float:
        left, top, right, bottom = stored.crop.box or (0.0, 0.0, 0.0, 0.0)
        return (right - left) * (bottom - top)

    if len(crops) <= most:
        return crops
    kept = sorted(range(len(crops)), key=lambda n: -area(crops[n]))[:most]
    return [crops[n] for n in sorted(kept)]
