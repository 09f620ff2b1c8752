"""What can be ingested: video files, MOT sequences, folders of ready-made crops; how each is named and told apart."""

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from passerby.data.datasets.base import IMAGE_SUFFIXES
from passerby.data.video.crop_folder import is_crop_folder, list_crops
from passerby.data.video.mot import is_mot, open_mot
from passerby.errors import PasserbyError
from passerby.files import sha256

VIDEO_SUFFIXES = frozenset(
    [
        ".264",
        ".265",
        ".3g2",
        ".3gp",
        ".asf",
        ".avi",
        ".dav",
        ".divx",
        ".f4v",
        ".flv",
        ".h264",
        ".h265",
        ".hevc",
        ".m2ts",
        ".m2v",
        ".m4v",
        ".mjpeg",
        ".mjpg",
        ".mkv",
        ".mov",
        ".mp4",
        ".mpeg",
        ".mpg",
        ".mts",
        ".mxf",
        ".ogm",
        ".ogv",
        ".ts",
        ".vob",
        ".webm",
        ".wmv",
        ".y4m",
    ]
)
"""Endings by which a film in a folder is known; a file that is named itself is taken for one."""

_NAME_BYTES = 80
"""Longest name of a film; with shot and frame it fits a tar's member, and with its endings a file."""
_MARK = 12
"""Digits of a digest that tell films of one name apart."""

Kind = Literal["film", "mot", "crops"]


@dataclass(frozen=True)
class Source:
    """Something to ingest.

    Attributes:
        kind: a video file, a MOT sequence, or a folder of crops.
        path: where it is.
        name: of the film in the shards.
    """

    kind: Kind
    path: Path
    name: str

    def digest(self) -> str:
        """Names what is read: by its bytes for a film, by names and bytes for a folder's pictures.

        What a MOT sequence says of its pictures is named behind a dash; see `shown_by`.
        """
        shown, said = self._files()
        pictures = _listing_digest(shown) if isinstance(shown, list) else sha256(shown)
        if self.kind != "mot":
            return pictures
        boxes = hashlib.sha256(b"\0".join(path.read_bytes() for path in said)).hexdigest()
        return f"{pictures}-{boxes}"

    def stamp(self) -> tuple[str, int]:
        """Names what is read by names, sizes and times of change, so that who has read it once knows; and how many bytes it is."""
        shown, said = self._files()
        files = [*(sorted(shown) if isinstance(shown, list) else [shown]), *said]
        facts = [(path.name, path.stat()) for path in files]
        lines = "\n".join(f"{name}\0{fact.st_size}\0{fact.st_mtime_ns}" for name, fact in facts)
        return hashlib.sha256(os.fsencode(lines)).hexdigest(), sum(fact.st_size for _, fact in facts)

    def _files(self) -> tuple[Path | list[Path], list[Path]]:
        """The film or the pictures, and the files that say something of them."""
        if self.kind == "film":
            return self.path, []
        if self.kind == "crops":  # nothing else that lies there, which may be the shards themselves
            return [path for _, _, path in list_crops(self.path)[0] if path.is_file()], []
        sequence = open_mot(self.path)
        said = [path for path in (sequence.folder / "seqinfo.ini", sequence.boxes) if path and path.is_file()]
        if sequence.film is not None:
            return sequence.film, said
        assert sequence.pictures is not None
        return [path for path in sequence.pictures.iterdir() if path.is_file()], said


@dataclass(frozen=True)
class Failure:
    """Why a film could not be ingested."""

    reason: str


def shown_by(digest: str) -> str:
    """The part of a source's digest that names its pictures: MOT17 has every sequence three times, with other boxes."""
    return digest.partition("-")[0]


def find_sources(paths: Sequence[Path]) -> list[Source]:
    """Sorts out what was named; a folder that is neither a sequence nor crops stands for what is in it.

    A film is called by its file or folder. Where several would have the same name, the folder above joins it; what then is
    still called alike is left to `free_name`.

    Raises:
        PasserbyError: when a path is missing, was named twice, or holds nothing that can be ingested.
    """
    # Of a film and a link to it within a folder nobody named both: they have one digest, and the first counts.
    for twice in [path for path, count in Counter(path.resolve() for path in paths).items() if count > 1]:
        raise PasserbyError(f"{twice}: was named twice; name each film once")
    found = [source for path in paths for source in _sources(path)]
    names = [_names(kind, path) for kind, path in found]
    shared = Counter(own for own, _ in names)
    return [
        Source(kind, path, joined if shared[own] > 1 else own)
        for (kind, path), (own, joined) in zip(found, names, strict=True)
    ]


def free_name(source: Source, digest: str, taken: Container[str]) -> str:
    """What a new film is called: its source's name; if another film has that, the folder above joins it, and then the digest."""
    _, joined = _names(source.kind, source.path)
    for name in (source.name, joined):
        if name not in taken:
            return name
    return f"{_name(joined, _NAME_BYTES - _MARK - 1)}-{digest[:_MARK]}"


def _sources(path: Path) -> list[tuple[Kind, Path]]:
    if path.is_file():
        if path.suffix.lower() in IMAGE_SUFFIXES:
            raise PasserbyError(
                f"{path}: a picture and no film; name the folder of crops (TRACK_FRAME.jpg) that it is in"
            )
        return [("film", path)]
    if not path.is_dir():
        raise PasserbyError(f"{path}: no such film or folder")
    if is_mot(path):
        return [("mot", path)]
    if is_crop_folder(path):
        return [("crops", path)]
    found: list[tuple[Kind, Path]] = []
    for inner in sorted(path.iterdir()):
        if inner.name.startswith("."):  # of a download or a film that is still being written
            continue
        # A link to what is not there (a disk that is not mounted) is taken for a film: reading it tells.
        if inner.suffix.lower() in VIDEO_SUFFIXES and (inner.is_file() or not inner.exists()):
            found.append(("film", inner))
        elif inner.is_dir() and is_mot(inner):
            found.append(("mot", inner))
        elif inner.is_dir() and is_crop_folder(inner):
            found.append(("crops", inner))
    if not found:
        raise PasserbyError(
            f"{path}: holds no film (by its ending), no MOT sequence and no crops named TRACK_FRAME.jpg; name what is to be "
            "ingested"
        )
    return found


def _names(kind: Kind, path: Path) -> tuple[str, str]:
    """Of a film: by its file or folder, and with the folder above."""
    own = path.stem if kind == "film" else path.name
    return _name(own), _name(f"{path.parent.resolve().name}-{own}")


def _name(text: str, room: int = _NAME_BYTES) -> str:
    """`text` as the name of a film: letters and digits of any script, - and _, in at most so many bytes."""
    # \w will not do: what counts as a word differs between the regular expressions that read names back, for a ² say.
    letters = (c if c.isalpha() or c.isdecimal() or c in "-_" else " " for c in unicodedata.normalize("NFKC", text))
    name = re.sub(" +", "-", "".join(letters)).strip("-")
    return name.encode()[:room].decode(errors="ignore") or "film"


def _listing_digest(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(f"{path.name}\0{sha256(path)}\n".encode())
    return digest.hexdigest()
