"""Frames of a video file, one after the other, each with its time (PyAV)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from passerby.data.images import Pixels
from passerby.data.video.cuts import WIDTH
from passerby.errors import PasserbyError
from passerby.extras import import_extra

FPS = 25.0
"""Assumed where nothing says how fast a film runs."""

_TICK = 1e-6
"""Seconds; what is closer together has the same time."""

_BEFORE = 2.0
"""Seconds by which one seeks before the frame that is wanted."""


@dataclass(frozen=True)
class Position:
    """Where a frame stands in its film: enough to read on from it.

    Attributes:
        number: of the frame.
        time: seconds from the first frame.
        stamp: the stream's own, in its time base; None where it has none that one could seek.
        offset: seconds that were taken off the stream's time.
    """

    number: int
    time: float
    stamp: int | None = None
    offset: float = 0.0


class Frame(Protocol):
    """One frame."""

    @property
    def position(self) -> Position:
        """Where it stands."""
        ...

    @property
    def leaps(self) -> bool:
        """The stream's time ran backwards before it: what came before may be of another moment."""
        ...

    @property
    def lost(self) -> int:
        """Frames, or pieces of the film, right before it that could not be decoded."""
        ...

    def small(self) -> Pixels:
        """uint8 [h, w, 3], blue, green, red, 256 columns wide: for the cut detector."""
        ...

    def image(self) -> Pixels:
        """uint8 [H, W, 3], RGB."""
        ...


class Reader(Protocol):
    """A film that can be read.

    Attributes:
        total: number of frames, as far as it is known.
        counts: what was met: `assumed_fps`, and what was `damaged` behind the last frame.
    """

    total: int | None
    counts: dict[str, float]

    def frames(self, start: Position | None = None) -> Iterator[Frame]:
        """The frames from `start` on, in order."""
        ...


class Clock:
    """Time from the stream's stamps; where one is missing or runs backwards, time goes on by a frame."""

    def __init__(self, interval: float, start: Position | None) -> None:
        """A clock that shows 0 at the first frame, or goes on at `start`."""
        self._interval = interval
        self._last = None if start is None else start.time - interval
        self.offset = 0.0 if start is None else start.offset

    def tick(self, seconds: float | None) -> tuple[float, bool]:
        """The time of the next frame, and whether the stream's time ran backwards."""
        if self._last is None:
            self._last, self.offset = 0.0, seconds or 0.0
            return 0.0, False
        following = self._last + self._interval
        if seconds is None:
            self._last = following
            return following, False
        time = seconds - self.offset
        leaps = time <= self._last + _TICK
        if leaps:
            self.offset, time = seconds - following, following
        self._last = time
        return time, leaps


@dataclass(frozen=True)
class FilmFrame:
    """A frame of a video file.

    Attributes:
        position: where it stands.
        leaps, lost: see `Frame`.
        picture: PyAV's frame.
    """

    position: Position
    leaps: bool
    lost: int
    picture: Any

    def small(self) -> Pixels:
        """See `Frame`."""
        height = max(1, round(WIDTH * self.picture.height / self.picture.width))
        small: Pixels = self.picture.reformat(WIDTH, height, "bgr24", interpolation="FAST_BILINEAR").to_ndarray()
        return small

    def image(self) -> Pixels:
        """See `Frame`; turned upright where the film says that the camera was held on its side."""
        image: Pixels = self.picture.to_ndarray(format="rgb24")
        quarters = round(self.picture.rotation / 90) % 4
        return np.ascontiguousarray(np.rot90(image, quarters)) if quarters else image


class FilmReader:
    """A video file, decoded by PyAV."""

    def __init__(self, path: Path, fps: float | None = None, threads: int = 2, numbered: bool = False) -> None:
        """Opens the file.

        Args:
            path: the file.
            fps: frames a second where the stream has no timestamps; 25 where None.
            threads: of the decoder.
            numbered: something is known of frames by their numbers, which a frame that cannot be decoded would shift.

        Raises:
            PasserbyError: when it is missing, no film, or has no video stream.
        """
        self._av: Any = import_extra("av", "video")
        self._path, self._threads, self._known_by_number = path, threads, numbered
        self._fps = fps or FPS
        self._fps_known = fps is not None
        self.counts: dict[str, float] = {}
        with self._open() as container:
            stream = container.streams.video[0]
            flags = self._av.format.Flags
            # Such a file may hold two recordings, each with its own time: a search by time leads into either.
            self._can_seek = not container.format.flags & (flags.ts_discont.value | flags.no_timestamps.value)
            # A row of JPEG files has no time; FFmpeg invents 25 frames a second.
            self._has_time = container.format.name != "mjpeg"
            rate = float(stream.average_rate or self._fps)
            seconds = float(stream.duration * stream.time_base) if stream.duration else (container.duration or 0) / 1e6
            self.total: int | None = stream.frames or round(seconds * rate) or None

    def frames(self, start: Position | None = None) -> Iterator[FilmFrame]:
        """See `Reader`.

        Raises:
            PasserbyError: when not one frame can be decoded, or one is lost where frames are known by their numbers.
        """
        if self._can_seek and start is not None and start.stamp is not None and start.time > 2 * _BEFORE:
            with self._open() as container:
                found = self._sought(container, start, start.stamp)
                if found is not None:
                    yield from found
                    return
        with self._open() as container:
            frames = self._numbered(self._pictures(container), container.streams.video[0], None)
            read = 0
            for frame in frames:
                read += 1
                if start is None or frame.position.number >= start.number:
                    yield frame
            if not read:
                raise PasserbyError(f"{self._path}: not one frame can be decoded; is the film damaged?")

    def _open(self) -> Any:
        try:
            container = self._av.open(str(self._path))
        except FileNotFoundError as error:
            raise PasserbyError(f"{self._path}: no such film") from error
        except self._av.error.FFmpegError as error:
            raise PasserbyError(
                f"{self._path}: cannot be opened as a film ({error.strerror}); is it one, and is it whole?"
            ) from error
        if not container.streams.video:
            container.close()
            raise PasserbyError(f"{self._path}: has no video stream")
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "AUTO", self._threads
        return container

    def _sought(self, container: Any, start: Position, stamp: int) -> Iterator[FilmFrame] | None:
        """The frames from `start` on, by seeking; None where that does not lead to the very frame."""
        stream = container.streams.video[0]
        before = int(_BEFORE / stream.time_base)
        try:
            container.seek(max(0, stamp - before), stream=stream)
            pictures = self._pictures(container)
            first = next((p for p in pictures if p[0].pts is not None and p[0].pts >= stamp), None)
        except self._av.error.FFmpegError:
            return None
        if first is None or first[0].pts != stamp:
            return None

        def rest() -> Iterator[tuple[Any, int]]:
            yield first
            yield from pictures

        return self._numbered(rest(), stream, start)

    def _numbered(
        self, pictures: Iterator[tuple[Any, int]], stream: Any, start: Position | None
    ) -> Iterator[FilmFrame]:
        """Pictures with their places in the film; the first one stands at `start`, or begins the film."""
        number = 0 if start is None else start.number
        clock: Clock | None = None
        leapt = False
        for picture, lost in pictures:
            if lost and self._known_by_number:
                raise PasserbyError(
                    f"{self._path}: damaged before frame {number + 1}, so that boxes no longer belong to the frames of their "
                    "numbers; give the whole film, or its frames as pictures in img1/"
                )
            stamp = picture.pts if self._has_time else None
            seconds = None if stamp is None else float(stamp * stream.time_base)
            if clock is None:
                stamped = seconds is not None
                if not stamped and not self._fps_known:
                    self.counts["assumed_fps"] = self._fps
                rate = float(stream.average_rate or self._fps) if stamped else self._fps
                clock = Clock(1 / rate, start)
            time, leaps = clock.tick(seconds)
            leapt |= leaps
            # A stamp may come twice in a film whose time ran backwards: there one cannot seek.
            position = Position(number, round(time, 6), None if leapt else stamp, clock.offset)
            yield FilmFrame(position, leaps, lost, picture)
            number += 1

    def _pictures(self, container: Any) -> Iterator[tuple[Any, int]]:
        """Decoded pictures, each with the number of pieces before it that could not be decoded, or not whole, and are passed over."""
        lost = 0
        packets = container.demux(video=0)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, self._av.error.EOFError):
                break
            except self._av.error.FFmpegError:  # the file ends where more should come
                lost += 1
                break
            try:
                for picture in packet.decode():
                    if picture.is_corrupt:  # the decoder made up what is missing
                        lost += 1
                        continue
                    yield picture, lost
                    lost = 0
            except self._av.error.EOFError:
                break
            except self._av.error.FFmpegError:
                lost += 1
        if lost:
            self.counts["damaged"] = lost
