"""Several films side by side: in processes of this machine, or as Ray tasks on many. Every film has one writer."""

import errno
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from itertools import islice
from multiprocessing import get_context, parent_process
from threading import Event, Thread
from typing import Any, Literal

import numpy as np

from passerby.data.video.film import FilmJob, ingest_film
from passerby.data.video.listing import FilmListing
from passerby.data.video.sources import Failure
from passerby.errors import PasserbyError, explain_system_error, first_of
from passerby.extras import import_extra

Engine = Literal["local", "ray"]

Told = Callable[[str, int, int | None], None]
"""Told of a film by name: frames that have passed, and of how many."""

_RETRIES = 3
_IN_FLIGHT = 256
"""Tasks that Ray is asked to wait for at a time; of tens of thousands each look would take long."""
_TELL_EVERY = 0.25
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


Outcome = tuple[FilmJob, FilmListing | Failure]


def run_jobs(jobs: Sequence[FilmJob], engine: Engine, workers: int, told: Told) -> Iterator[Outcome]:
    """Ingests films; each as soon as it is done.

    Args:
        jobs: the films.
        engine: `local` or `ray`.
        workers: films at a time on this machine; with Ray only where no cluster runs yet.
        told: of progress; never with Ray.

    Raises:
        PasserbyError: when a worker process of this machine died, or Ray is not installed. A film whose Ray worker died
            again and again is a `Failure`.
        OSError: when the disk is full.
    """
    if engine == "ray":
        return _with_ray(jobs, workers)
    if workers > 1 and len(jobs) > 1:
        return _in_processes(jobs, workers, told)
    return ((job, _attempt(job, told)) for job in jobs)


def _attempt(job: FilmJob, told: Told) -> FilmListing | Failure:
    """One film; bad input is an outcome, and so is what the system refuses; everything else is an exception."""
    last = 0.0

    def advance(done: int, total: int | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _TELL_EVERY:
            last = now
            told(job.source.name, done, total)

    try:
        return ingest_film(job, advance)
    except PasserbyError as error:
        return Failure(str(error))
    except OSError as error:
        if error.errno in _NO_ROOM:  # the next film would fare no better
            error.filename = error.filename or str(job.out)  # a write does not say where
            raise
        return Failure(f"{job.source.path}: {explain_system_error(error)}")


_progress: Any = None
"""In a worker process: two int64 a film, of how many frames (0: nobody knows), and 1 + how many have passed (0: not begun).

Memory that processes share, and no queue: a worker that is killed while it holds a queue's lock would stop all others."""


def _begin(progress: Any) -> None:
    """Begins a worker process."""
    global _progress
    _progress = progress
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends this process once its parent is gone, killed say: whoever goes on with the films must find them left alone."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _attempt_in_process(place: int, job: FilmJob) -> FilmListing | Failure:
    def note(film: str, done: int, total: int | None) -> None:
        _progress[2 * place : 2 * place + 2] = total or 0, 1 + done

    note(job.source.name, 0, None)
    return _attempt(job, note)


def _in_processes(jobs: Sequence[FilmJob], workers: int, told: Told) -> Iterator[Outcome]:
    context = get_context("spawn")  # decoder and detector have threads, and those do not survive a fork
    shared = context.RawArray("q", 2 * len(jobs))
    progress = np.frombuffer(shared, np.int64).reshape(-1, 2)
    over, ended = Event(), np.zeros(len(jobs), bool)

    def watch() -> None:
        before, last = np.zeros_like(progress), False
        while not last:
            last = over.wait(_TELL_EVERY)
            now = progress.copy()
            for place in np.flatnonzero((now[:, 1] > 1) & (now != before).any(1)).tolist():
                told(jobs[place].source.name, int(now[place, 1]) - 1, int(now[place, 0]) or None)
            before = now

    watcher = Thread(target=watch, daemon=True)
    watcher.start()
    try:
        with ProcessPoolExecutor(workers, context, _begin, (shared,)) as pool:
            running = {pool.submit(_attempt_in_process, place, job): place for place, job in enumerate(jobs)}
            try:
                for future in as_completed(running):
                    outcome, place = future.result(), running[future]
                    ended[place] = True
                    yield jobs[place], outcome
            except BrokenProcessPool as error:
                begun = np.flatnonzero((progress[:, 1] > 0) & ~ended).tolist()
                names = first_of([jobs[place].source.name for place in begun])
                when = f"while it read one of: {names}" if begun else "before it read a film"
                raise PasserbyError(
                    f"a worker process died (of too little memory?) {when}; the same command goes on where it stopped; "
                    "--workers sets how many films are read at a time; leave a film out that does it every time"
                ) from error
            finally:
                pool.shutdown(cancel_futures=True)
    finally:
        over.set()
        watcher.join()


def _with_ray(jobs: Sequence[FilmJob], workers: int) -> Iterator[Outcome]:
    """Ray does a task again whose worker died; the film is then done again whole."""
    ray: Any = import_extra("ray", "cluster")
    if not ray.is_initialized():
        if address := os.environ.get("RAY_ADDRESS"):  # a cluster that runs has its own number of processors
            ray.init(address=address, log_to_driver=False, configure_logging=False)
        else:
            processors = workers * max(job.threads for job in jobs)
            ray.init(
                address="local",
                num_cpus=processors,
                include_dashboard=False,
                log_to_driver=False,
                configure_logging=False,
            )
    task = ray.remote(max_retries=_RETRIES)(_attempt_as_task)
    coming = iter(jobs)
    running: dict[Any, FilmJob] = {}
    while True:
        for job in islice(coming, _IN_FLIGHT - len(running)):
            running[task.options(num_cpus=job.threads).remote(_for_elsewhere(job))] = job
        if not running:
            return
        (done,), _ = ray.wait(list(running), num_returns=1)
        job = running.pop(done)
        try:
            outcome = ray.get(done)
        except ray.exceptions.RayTaskError:  # what the task itself raised
            raise
        except ray.exceptions.RayError as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            outcome = Failure(
                f"{job.source.path}: its worker died {_RETRIES + 1} times (of too little memory?); the same command tries it "
                f"again ({reason})"
            )
        yield job, outcome


def _for_elsewhere(job: FilmJob) -> FilmJob:
    """The job for a process with another working folder, which does the film whole."""
    detector = job.settings.detector
    settings = job.settings.model_copy(update={"detector": detector and detector.resolve()})
    source = replace(job.source, path=job.source.path.resolve())
    return replace(job, source=source, out=job.out.resolve(), settings=settings, resume=False)


def _attempt_as_task(job: FilmJob) -> FilmListing | Failure:
    return _attempt(job, lambda name, done, total: None)
