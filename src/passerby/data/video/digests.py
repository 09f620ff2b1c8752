"""Digests of what is to be ingested, remembered beside the shards: a run that goes on does not read terabytes again."""

import time
from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter
from rich.progress import track

from passerby.data.video.sources import Failure, Source
from passerby.errors import PasserbyError, explain_system_error
from passerby.files import write_text

MEMORY = ".digests.json"

_MUCH = 2 * 2**30
"""From so many bytes on reading takes seconds, and a bar is shown."""
_SAVE_EVERY = 30.0
"""Seconds of reading that a kill may lose."""


def digest_sources(
    sources: Sequence[Source], folder: Path, *, progress: bool = True
) -> list[tuple[Source, str | Failure]]:
    """Each source with its digest, or why it cannot be read.

    Args:
        sources: what is to be ingested.
        folder: of the shards; a digest is remembered there until one of the source's files changes.
        progress: shows a bar where it takes seconds.
    """
    memory = _Memory(folder / MEMORY)
    stamped = [(source, *_stamp(source)) for source in sources]
    unread = sum(size for source, stamp, size in stamped if memory.find(source, stamp) is None)
    hidden = not progress or unread < _MUCH
    try:
        return [
            (source, _digest(source, stamp, memory))
            for source, stamp, _ in track(stamped, "reading films", transient=True, disable=hidden)
        ]
    finally:
        memory.save()


def _stamp(source: Source) -> tuple[str | None, int]:
    """Stamp and bytes of a source; None where it cannot be read: its digest will say why."""
    try:
        return source.stamp()
    except (PasserbyError, OSError):
        return None, 0


def _digest(source: Source, stamp: str | None, memory: "_Memory") -> str | Failure:
    if (known := memory.find(source, stamp)) is not None:
        return known
    try:
        digest = source.digest()
    except PasserbyError as error:
        return Failure(str(error))
    except OSError as error:
        return Failure(explain_system_error(error))
    if stamp is not None:
        memory.keep(source, stamp, digest)
    return digest


def _place(source: Source) -> str:
    """The path of a source, as text even where its bytes are none."""
    return str(source.path.absolute()).encode(errors="backslashreplace").decode()


class _Memory:
    """Stamps and digests of sources, by their paths, in a file."""

    _KIND = TypeAdapter(dict[str, tuple[str, str]])

    def __init__(self, path: Path) -> None:
        self._path, self._changed, self._saved = path, False, time.monotonic()
        try:
            self._known = self._KIND.validate_json(path.read_bytes())
        except (FileNotFoundError, ValueError):  # damaged: everything is read again
            self._known = {}

    def find(self, source: Source, stamp: str | None) -> str | None:
        """The digest of a source that still has this stamp."""
        then, digest = self._known.get(_place(source), (None, None))
        return digest if then == stamp else None

    def keep(self, source: Source, stamp: str, digest: str) -> None:
        """Remembers a digest."""
        self._known[_place(source)] = stamp, digest
        self._changed = True
        if time.monotonic() - self._saved >= _SAVE_EVERY:
            self.save()

    def save(self) -> None:
        """Writes what is new."""
        if self._changed:
            write_text(self._path, self._KIND.dump_json(self._known).decode())
        self._changed, self._saved = False, time.monotonic()
