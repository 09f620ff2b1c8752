"""Engines: films side by side leave the same bytes as one after the other; a worker that is killed loses nothing."""

import errno
import multiprocessing
import os
import re
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

from passerby.data.synthetic import write_street
from passerby.data.video.engines import run_jobs
from passerby.data.video.film import FilmJob, ingest_film
from passerby.data.video.listing import FilmListing
from passerby.data.video.settings import IngestSettings
from passerby.data.video.sources import Failure, find_sources
from passerby.errors import PasserbyError

Files = Callable[[Path], dict[str, bytes]]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("films")
    write_street(out, 2, 5, shots=2, seconds=3, people=6, size=(96, 128), progress=False)
    return out


def jobs(films: Path, out: Path, settings: IngestSettings) -> list[FilmJob]:
    return [FilmJob(source, source.digest(), out, settings, threads=1) for source in find_sources([films])]


def silent(film: str, done: int, total: int | None) -> None:
    pass


def test_processes_change_no_byte(films: Path, tmp_path: Path, quick: IngestSettings, files: Files) -> None:
    one = list(run_jobs(jobs(films, tmp_path / "one", quick), "local", 1, silent))
    told: list[tuple[str, int, int | None]] = []
    two = list(run_jobs(jobs(films, tmp_path / "two", quick), "local", 2, lambda *what: told.append(what)))
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert {job.source.name for job, _ in one} == {job.source.name for job, _ in two} == {"street-00", "street-01"}
    assert {film for film, _, _ in told} == {"street-00", "street-01"}
    assert all(0 < done <= (total or 0) for _, done, total in told)


def test_one_bad_film_does_not_stop_the_others(films: Path, tmp_path: Path, quick: IngestSettings) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "seqinfo.ini").write_text("[Sequence]\nvideo=nowhere.mp4\n")
    (bad / "gt").mkdir()
    (bad / "gt" / "gt.txt").write_text("")
    (source,) = find_sources([bad])
    broken = FilmJob(source, "digest", tmp_path / "out", quick)
    outcomes = {
        job.source.name: outcome
        for job, outcome in run_jobs([broken, *jobs(films, tmp_path / "out", quick)], "local", 1, silent)
    }
    assert isinstance(outcomes["bad"], Failure)
    assert "no such film" in outcomes["bad"].reason
    assert not isinstance(outcomes["street-00"], Failure)


def test_a_film_that_the_system_refuses_does_not_stop_the_others(
    films: Path, tmp_path: Path, quick: IngestSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(code: int) -> Callable[..., FilmListing]:
        def ingest(job: FilmJob, advance: object) -> FilmListing:
            if job.source.name == "street-00":
                raise OSError(code, os.strerror(code), "picture.jpg")
            return ingest_film(job)

        return ingest

    todo = jobs(films, tmp_path / "out", quick)
    with monkeypatch.context() as patch:
        patch.setattr("passerby.data.video.engines.ingest_film", refuse(errno.EIO))
        outcomes = {job.source.name: outcome for job, outcome in run_jobs(todo, "local", 1, silent)}
    refused = outcomes["street-00"]
    assert isinstance(refused, Failure)
    assert re.search(r"street-00: picture\.jpg: input/output error", refused.reason)
    assert not isinstance(outcomes["street-01"], Failure)
    monkeypatch.setattr("passerby.data.video.engines.ingest_film", refuse(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"):  # every film would meet it
        list(run_jobs(todo, "local", 1, silent))


def test_a_full_disk_is_told_with_its_place(
    films: Path, tmp_path: Path, quick: IngestSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(job: FilmJob, advance: object) -> FilmListing:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as write() does, without a name

    monkeypatch.setattr("passerby.data.video.engines.ingest_film", full)
    with pytest.raises(OSError, match="No space left") as raised:
        list(run_jobs(jobs(films, tmp_path / "out", quick), "local", 1, silent))
    assert raised.value.filename == str(tmp_path / "out")


def test_a_dead_worker_is_told_with_what_it_read(films: Path, tmp_path: Path, quick: IngestSettings) -> None:
    def kill(film: str, done: int, total: int | None) -> None:
        for child in multiprocessing.active_children():
            os.kill(child.pid or 0, signal.SIGKILL)

    with pytest.raises(PasserbyError, match=r"a worker process died .* while it read one of: street-0\d"):
        list(run_jobs(jobs(films, tmp_path / "out", quick), "local", 2, kill))


class Deadly:
    """What is unpickled in a worker and ends it."""

    def __reduce__(self) -> tuple[Callable[[int], object], tuple[int]]:
        return os._exit, (1,)


def test_a_worker_that_dies_before_any_film_is_told_as_well(films: Path, tmp_path: Path, quick: IngestSettings) -> None:
    deadly: Any = Deadly()
    todo = [replace(job, digest=deadly) for job in jobs(films, tmp_path / "out", quick)]
    with pytest.raises(PasserbyError, match=r"a worker process died .* before it read a film; the same command"):
        list(run_jobs(todo, "local", 2, silent))


class Remote:
    """As much of Ray as the engine uses: tasks run when they are waited for; what they raise is raised by `get`."""

    class RayError(Exception):
        """Base of all."""

    class RayTaskError(RayError):
        """Raised by a task."""

    class OutOfMemoryError(RayError):
        """Ray's memory monitor ended the worker."""

    def __init__(self, dies: str) -> None:
        self.exceptions, self.dies = Remote, dies
        self.asked: list[tuple[FilmJob, float]] = []

    def is_initialized(self) -> bool:
        return True

    def remote(self, max_retries: int) -> Callable[[object], "Remote"]:
        return lambda function: self

    def options(self, num_cpus: int) -> Any:
        def ask(job: FilmJob) -> FilmJob:
            self.asked.append((job, num_cpus))
            return job

        return SimpleNamespace(remote=ask)

    def wait(self, running: list[FilmJob], num_returns: int) -> tuple[list[FilmJob], list[FilmJob]]:
        return running[:1], running[1:]

    def get(self, job: FilmJob) -> FilmListing:
        if job.source.name == self.dies:
            raise Remote.OutOfMemoryError("the worker\nwas ended")
        return ingest_film(job)


def test_a_film_that_ends_its_ray_worker_does_not_stop_the_others(
    films: Path, tmp_path: Path, quick: IngestSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = Remote("street-00")
    monkeypatch.setattr("passerby.data.video.engines.import_extra", lambda module, extra: ray)
    monkeypatch.chdir(tmp_path)
    todo = [replace(job, threads=3) for job in jobs(films, Path("out"), quick)]
    outcomes = {job.source.name: outcome for job, outcome in run_jobs(todo, "ray", 2, silent)}
    assert isinstance(outcomes["street-00"], Failure)
    assert "street-00: its worker died 4 times" in outcomes["street-00"].reason
    assert outcomes["street-00"].reason.endswith("(the worker was ended)")
    assert isinstance(outcomes["street-01"], FilmListing)
    # A worker has another working folder; it takes the processors that its threads need, and does films whole.
    assert {(job.out, job.resume, asked) for job, asked in ray.asked} == {(tmp_path / "out", False, 3)}


def test_what_a_ray_task_raises_is_raised(
    films: Path, tmp_path: Path, quick: IngestSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Remote, "OutOfMemoryError", Remote.RayTaskError)
    monkeypatch.setattr("passerby.data.video.engines.import_extra", lambda module, extra: Remote("street-00"))
    with pytest.raises(Remote.RayTaskError):
        list(run_jobs(jobs(films, tmp_path / "out", quick), "ray", 2, silent))


@pytest.mark.slow
def test_ray_does_the_film_of_a_dead_worker_again(tmp_path: Path, quick: IngestSettings, files: Files) -> None:
    ray = pytest.importorskip("ray", reason="needs the extra `cluster`")
    films = tmp_path / "films"
    write_street(films, 3, 5, shots=3, seconds=15, people=6, size=(96, 128), progress=False)
    list(run_jobs(jobs(films, tmp_path / "one", quick), "local", 1, silent))
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    killed: list[int] = []

    def kill() -> None:
        """Kills the process that writes the first journal with a shot in it."""
        while not killed:
            for journal in (tmp_path / "ray" / "films").glob("*.journal"):
                if journal.read_bytes().count(b"\n") > 1:
                    for process in Path("/proc").glob("[0-9]*"):
                        try:
                            held = {str(link.readlink()) for link in (process / "fd").iterdir()}
                        except OSError:
                            continue
                        if str(journal) in held and int(process.name) != os.getpid():
                            os.kill(int(process.name), signal.SIGKILL)
                            killed.append(int(process.name))
                            return
            time.sleep(0.005)

    killer = Thread(target=kill, daemon=True)
    killer.start()
    try:
        outcomes = list(run_jobs(jobs(films, tmp_path / "ray", quick), "ray", 2, silent))
    finally:
        ray.shutdown()
    assert killed
    assert not any(isinstance(outcome, Failure) for _, outcome in outcomes)
    assert len(outcomes) == 3
    assert files(tmp_path / "one") == files(tmp_path / "ray")
