"""Files and folders appear whole or not at all."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from passerby.errors import PasserbyError
from passerby.files import atomic_file, atomic_folder, check_writable, sha256, write_text


@pytest.fixture
def umask() -> Iterator[None]:
    """An umask that is not the usual one."""
    before = os.umask(0o027)
    yield
    os.umask(before)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def fill(writer: AbstractContextManager[Path], error: BaseException) -> None:
    """Writes half of what was meant, then fails."""
    with writer as temporary:
        (temporary / "half" if temporary.is_dir() else temporary).write_text("half")
        raise error


def test_file_replaces_the_old_one_and_makes_its_folder(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.txt"
    for text in ("one", "two"):
        with atomic_file(target) as temporary:
            assert temporary.parent == target.parent
            temporary.write_text(text)
        assert target.read_text() == text
    assert names(target.parent) == ["a.txt"]


def test_file_appears_only_at_the_end(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        assert not (tmp_path / "a.txt").exists()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_exception_keeps_the_old_file(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(type(error)):
        fill(atomic_file(target), error)
    assert target.read_text() == "old"
    with pytest.raises(PasserbyError, match=r"a\.txt is a file and no folder; give another name"):
        check_writable(tmp_path / "a.txt" / "deep" / "b.txt")
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_where_nothing_can_be_written_it_is_said_at_once(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PasserbyError, match="nothing can be written in"):
        check_writable(tmp_path / "b.txt")
    tmp_path.chmod(0o700)


@pytest.mark.usefixtures("umask")
def test_file_and_folder_have_the_mode_of_the_umask(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "a.txt") as temporary:
        temporary.write_text("x")
    with atomic_folder(tmp_path / "folder"):
        pass
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o750
    assert os.umask(0o027) == 0o027


@pytest.mark.parametrize("verb", ["atomic_file", "atomic_folder"])
def test_a_kill_while_writing_keeps_the_old_one(tmp_path: Path, verb: str) -> None:
    target = tmp_path / "a"
    inside = target if verb == "atomic_file" else target / "b"
    inside.parent.mkdir(exist_ok=True)
    inside.write_text("old")
    code = (
        f"import os; from pathlib import Path; from passerby.files import {verb}\n"
        f"with {verb}(Path({str(target)!r})) as t:\n"
        f"    (t if t.is_file() else t / 'b').write_text('half'); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert inside.read_text() == "old"


def test_folder_takes_the_place_of_the_whole_old_one(tmp_path: Path) -> None:
    target = tmp_path / "model"
    for name in ("first", "second"):
        with atomic_folder(target) as temporary:
            (temporary / name).write_text(name)
    assert names(target) == ["second"]
    assert names(tmp_path) == ["model"]


def test_an_exception_keeps_the_old_folder(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").touch()
    with pytest.raises(RuntimeError):
        fill(atomic_folder(target), RuntimeError())
    assert names(target) == ["old"]
    assert names(tmp_path) == ["model"]


def test_a_failed_rename_puts_the_old_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").touch()
    rename = Path.rename

    def failing(self: Path, to: Path) -> Path:
        if self.suffix == ".tmp":
            raise OSError(5, "Input/output error")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="Input/output"), atomic_folder(target):
        pass
    assert names(target) == ["old"]
    assert names(tmp_path) == ["model"]


def test_write_text_is_utf8(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "Grüße")
    assert (tmp_path / "a.txt").read_bytes() == "Grüße".encode()


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    (tmp_path / "a").write_bytes(data)
    assert sha256(tmp_path / "a") == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("verb", [atomic_file, atomic_folder])
def test_a_full_disk_names_the_file_that_was_meant(
    tmp_path: Path, verb: Callable[[Path], AbstractContextManager[Path]]
) -> None:
    with pytest.raises(OSError, match="No space left") as raised:
        fill(verb(tmp_path / "a"), OSError(28, "No space left on device"))
    assert raised.value.filename == str(tmp_path / "a")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"exists|directory") as raised:
        fill(verb(tmp_path / "file" / "a"), RuntimeError())
    assert raised.value.filename.startswith(str(tmp_path / "file"))


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="directory") as raised, atomic_file(tmp_path):
        pass
    assert raised.value.filename == str(tmp_path)


def test_where_a_file_goes_no_folder_may_stand(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    for fine in (None, tmp_path / "a.txt", tmp_path / "new", str(tmp_path / "new" / "b.txt")):
        check_writable(fine)
    for folder in (tmp_path, str(tmp_path)):
        with pytest.raises(PasserbyError, match=f"{tmp_path}: a folder; give the name of a file to write"):
            check_writable(folder)
    assert names(tmp_path) == ["a.txt"]
