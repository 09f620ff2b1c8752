"""Writing without losing: a file or folder appears whole under its name, or not at all."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from passerby.errors import PasserbyError


def check_writable(path: str | Path | None) -> None:
    """Raises PasserbyError where a file is to be written and cannot be: hours of work may lie before that. None: nothing is."""
    if path is None:
        return
    if Path(path).is_dir():
        raise PasserbyError(f"{path}: a folder; give the name of a file to write")
    there = next(parent for parent in Path(path).absolute().parents if parent.exists())
    if not there.is_dir():
        raise PasserbyError(f"{path}: {there} is a file and no folder; give another name")
    if not os.access(there, os.W_OK | os.X_OK):
        raise PasserbyError(f"{path}: nothing can be written in {there}; give another name")


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path` to write to; renames it onto `path` when the block ends well.

    An exception, a full disk or a kill leaves an older file at `path` as it was.
    """
    with _errors_name(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            with temporary.open("rb+") as stream:
                os.fsync(stream.fileno())
            # mkstemp makes the file private; give it the mode that an ordinary open() would have.
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yields a temporary folder beside `path` to fill; it takes the place of `path` when the block ends well."""
    with _errors_name(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
        old = temporary.with_suffix(".old")
        try:
            yield temporary
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o777 & ~umask)
            if path.exists():
                path.rename(old)
            temporary.rename(path)
        finally:
            if old.exists() and not path.exists():
                old.rename(path)
            shutil.rmtree(old, ignore_errors=True)
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _errors_name(path: Path) -> Iterator[None]:
    """Lets what the system refuses speak of `path`: a full disk names no file, other errors the temporary one."""
    try:
        yield
    except OSError as error:
        if error.filename is None or f".{path.name}." in str(error.filename):
            error.filename, error.filename2 = str(path), None
        raise


def write_text(path: Path, text: str) -> None:
    """Writes `text` (UTF-8) to `path` atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
