"""The batches of a run on film, and how long it is."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from rich.progress import track

from passerby.data.video.film_set import MANY_SHOTS, FilmBatch, FilmSet
from passerby.data.video.frame_pairs import FramePlan


class FilmLoader:
    """The batches of one process over a whole run; its position is saved with the trainer's checkpoint.

    To the trainer the run is one epoch, since epochs of film differ in length. The next batch is decoded while one trains.
    """

    def __init__(self, film: FilmSet, steps: int, process: int = 0) -> None:
        """The super frames of `process` for `steps` steps."""
        self.film, self.steps, self.process = film, steps, process
        self.step = 0

    def __len__(self) -> int:
        """Steps of the run."""
        return self.steps

    def __iter__(self) -> Iterator[FilmBatch]:
        """Batches up to the end of the run."""
        with ThreadPoolExecutor(1) as ahead:
            coming: Future[FilmBatch] | None = None
            for step, epoch, place in self._places():
                visits = self.film.plan.super_frame(epoch, place, self.process)
                after = ahead.submit(self.film.batch, visits, step)
                if coming is not None:
                    yield self._passed(coming)
                coming = after
            if coming is not None:
                yield self._passed(coming)

    def _passed(self, coming: Future[FilmBatch]) -> FilmBatch:
        batch = coming.result()
        self.step = batch.step + 1
        return batch

    def _places(self) -> Iterator[tuple[int, int, int]]:
        """Step of the run, epoch and step within it, from the present position on."""
        first, epoch = 0, 0
        while first < self.steps:
            steps = self.film.plan.steps(epoch)
            for step in range(max(first, self.step), min(first + steps, self.steps)):
                yield step, epoch, step - first
            first, epoch = first + steps, epoch + 1

    def state_dict(self) -> dict[str, int]:
        """The position."""
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Takes up a saved position."""
        self.step = state["step"]


def steps_of_epochs(plan: FramePlan, epochs: int) -> int:
    """Steps of so many epochs."""
    few = len(plan.shots) * epochs < MANY_SHOTS
    return sum(plan.steps(epoch) for epoch in track(range(epochs), "planning epochs", transient=True, disable=few))


def steps_of_crops(plan: FramePlan, crops: int) -> int:
    """The fewest steps that see so many crops, all processes together."""
    seen = steps = epoch = 0
    while True:
        # Begun with 0: an epoch after the first may have too few super frames for a step of all processes.
        total = seen + np.cumsum(np.append(0, plan.crops(epoch)))
        if total[-1] >= crops:
            return steps + int(np.searchsorted(total, crops))
        seen, steps, epoch = int(total[-1]), steps + len(total) - 1, epoch + 1
