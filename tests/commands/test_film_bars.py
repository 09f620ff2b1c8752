"""Bars of an ingest: one a film that is under way, and one of all."""

from rich.progress import Progress

from passerby.commands.film_bars import FilmBars


def test_a_bar_goes_when_its_film_is_done() -> None:
    progress = Progress(disable=True)
    bars = FilmBars(progress, 3)
    bars("a", 1, 10)
    bars("b", 2, None)
    bars("a", 3, 10)
    assert [(task.description, task.completed, task.total) for task in progress.tasks] == [
        ("films", 0, 3),
        ("a", 3, 10),
        ("b", 2, None),
    ]
    bars.end("a")
    bars.end("c")  # so short that nobody told of it yet
    bars("a", 4, 10)  # told late
    bars("c", 1, 1)
    assert [(task.description, task.completed) for task in progress.tasks] == [("films", 2), ("b", 2)]
    assert progress.tasks[0].visible
    assert not FilmBars(Progress(disable=True), 1)._progress.tasks[0].visible
