"""Progress of an ingest: how many films are done, and how far those are that are under way."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn


@contextmanager
def film_bars(shown: bool, films: int) -> Iterator["FilmBars"]:
    """Bars for so many films, removed when the block ends."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(show_speed=True),
        TimeRemainingColumn(),
    )
    with Progress(*columns, disable=not shown, transient=True) as progress:
        yield FilmBars(progress, films)


class FilmBars:
    """A bar of all films, and one for each film that is under way on this machine."""

    def __init__(self, progress: Progress, films: int) -> None:
        """For `film_bars`."""
        self._progress = progress
        self._all = progress.add_task("films", total=films, visible=films > 1)
        self._tasks: dict[str, TaskID | None] = {}
        # A thread of its own tells of films in other processes, of ended ones perhaps a little late.
        self._lock = Lock()

    def __call__(self, film: str, done: int, total: int | None) -> None:
        """Frames of a film that have passed, and of how many."""
        with self._lock:
            if film not in self._tasks:
                self._tasks[film] = self._progress.add_task(film, total=total)
            if (task := self._tasks[film]) is not None:
                self._progress.update(task, completed=done)

    def end(self, film: str) -> None:
        """Removes the bar of a film for good."""
        with self._lock:
            if (task := self._tasks.get(film)) is not None:
                self._progress.remove_task(task)
            self._tasks[film] = None
        self._progress.advance(self._all)
