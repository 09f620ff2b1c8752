"""Several films side by side: in processes of this machine, or as Ray tasks on many. Every film has one writer."""

import errno
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from itertools import islice
from multiprocessing import get_context
from threading import Thread
from typing import Any, Literal

from passerby.data.video.film import FilmJob, ingest_film
from passerby.data.video.listing import FilmListing
from passerby.errors import PasserbyError, explain_system_error
from passerby.extras import import_extra

Engine = Literal["local", "ray"]

Told = Callable[[str, int, int | None], None]
"""Told of a film by name: frames that have passed, and of how many."""

_RETRIES = 3
_IN_FLIGHT = 256
"""Tasks that Ray is asked to wait for at a time; of tens of thousands each look would take long."""
_TELL_EVERY = 0.25
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Failure:
    """Why a film could not be ingested."""

    reason: str


Outcome = tuple[FilmJob, FilmListing | Failure]


def run_jobs(jobs: Sequence[FilmJob], engine: Engine, workers: int, told: Told) -> Iterator[Outcome]:
    """Ingests films; each as soon as it is done.

    Args:
        jobs: the films.
        engine: `local` or `ray`.
        workers: films at a time on this machine; with Ray only where no cluster runs yet.
        told: of progress; never with Ray.

    Raises:
        PasserbyError: when a worker process died, or Ray is not installed.
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
            raise
        return Failure(f"{job.source.path}: {explain_system_error(error)}")


_queue: Any = None
"""In a worker process: where progress is told."""


def _take_queue(queue: Any) -> None:
    global _queue
    _queue = queue


def _attempt_in_process(job: FilmJob) -> FilmListing | Failure:
    return _attempt(job, lambda *what: _queue.put(what))


def _in_processes(jobs: Sequence[FilmJob], workers: int, told: Told) -> Iterator[Outcome]:
    context = get_context("spawn")  # decoder and detector have threads, and those do not survive a fork
    queue: Any = context.Queue()

    def listen() -> None:
        while (what := queue.get()) is not None:
            told(*what)

    listener = Thread(target=listen, daemon=True)
    listener.start()
    try:
        with ProcessPoolExecutor(workers, context, _take_queue, (queue,)) as pool:
            running = {pool.submit(_attempt_in_process, job): job for job in jobs}
            try:
                for future in as_completed(running):
                    yield running[future], future.result()
            except BrokenProcessPool as error:
                raise PasserbyError(
                    "a worker process died (of too little memory?); the same command goes on where it stopped; "
                    "--workers sets how many films are read at a time"
                ) from error
            finally:
                pool.shutdown(cancel_futures=True)
    finally:
        queue.put(None)
        listener.join()


def _with_ray(jobs: Sequence[FilmJob], workers: int) -> Iterator[Outcome]:
    """Ray does a task again whose worker died; the film is then done again whole."""
    ray: Any = import_extra("ray", "cluster")
    if not ray.is_initialized():
        if address := os.environ.get("RAY_ADDRESS"):  # a cluster that runs has its own number of processors
            ray.init(address=address, log_to_driver=False, configure_logging=False)
        else:
            ray.init(
                address="local", num_cpus=workers, include_dashboard=False, log_to_driver=False, configure_logging=False
            )
    task = ray.remote(num_cpus=1, max_retries=_RETRIES)(_attempt_as_task)
    coming = iter(jobs)
    running: dict[Any, FilmJob] = {}
    while True:
        for job in islice(coming, _IN_FLIGHT - len(running)):
            running[task.remote(replace(job, resume=False))] = job
        if not running:
            return
        (done,), _ = ray.wait(list(running), num_returns=1)
        job = running.pop(done)
        try:
            yield job, ray.get(done)
        except ray.exceptions.WorkerCrashedError as error:
            raise PasserbyError(
                f"{job.source.path}: its worker died {_RETRIES + 1} times (of too little memory?); the films that are done "
                "are kept, the same command does the others"
            ) from error


def _attempt_as_task(job: FilmJob) -> FilmListing | Failure:
    return _attempt(job, lambda name, done, total: None)
