"""What all tests share: few threads, a cache of their own, small people on disk, and the real data if at hand."""

import os
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from passerby.data.sample import Sample
from passerby.data.video.crops import Crop, StoredCrop
from passerby.data.video.writer import FilmWriter, merge_listings

Market = Callable[..., list[Sample]]
FilmFolder = Callable[..., Path]


@pytest.fixture(scope="session", autouse=True)
def _modest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One thread, since pytest runs as many processes as there are cores, and a cache that no other program uses."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # of the processes that tests start
        patch.setenv("PASSERBY_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def market(tmp_path: Path) -> Market:
    """`market(...)` writes Market-style crops (an identity is a colour, an image its noise) and returns samples."""

    def write(
        name: str = "people", identities: int = 4, cameras: int = 2, shots: int = 2, size: tuple[int, int] = (40, 20)
    ) -> list[Sample]:
        folder = tmp_path / name
        folder.mkdir(parents=True, exist_ok=True)
        samples = []
        for identity in range(1, identities + 1):
            colour = np.random.default_rng(identity).integers(40, 215, 3)
            for camera in range(1, cameras + 1):
                for shot in range(shots):
                    noise = np.random.default_rng([identity, camera, shot]).normal(0, 12, (*size, 3))
                    path = folder / f"{identity:04d}_c{camera}s1_{shot:06d}_00.jpg"
                    Image.fromarray((colour + noise).clip(0, 255).astype(np.uint8)).save(path, quality=95)
                    samples.append(Sample(path, identity, camera, name))
        return samples

    return write


@pytest.fixture(scope="session")
def film_folder(tmp_path_factory: pytest.TempPathFactory) -> FilmFolder:
    """`film_folder(...)` writes shards: in each shot other people walk, each a colour; only noise tells frames apart.

    The shots begin a minute after each other. A crop's truth is its person, numbered through the film; with `truth=False` nobody knows.
    """

    def write(
        name: str = "film",
        shots: int = 4,
        frames: int = 5,
        people: int = 3,
        seconds: float = 0.5,
        truth: bool = True,
        seed: int = 0,
    ) -> Path:
        folder = tmp_path_factory.mktemp("shards") / name
        folder.mkdir()
        with FilmWriter(folder, name, source=f"{name}{seed}", settings="t") as writer:
            for shot in range(shots):
                crops = [
                    _crop(
                        name,
                        shot,
                        frame,
                        index,
                        60 * shot + frame * seconds,
                        shot * people + index if truth else None,
                        seed,
                    )
                    for frame in range(frames)
                    for index in range(people)
                ]
                writer.add(crops, {"next": shot + 1})
            writer.finish({})
        merge_listings(folder, [name])
        return folder

    return write


def _crop(film: str, shot: int, frame: int, index: int, time: float, identity: int | None, seed: int) -> StoredCrop:
    colour = np.random.default_rng([seed, shot, index]).integers(20, 235, (4, 1, 3)).repeat(10, 0)
    noise = np.random.default_rng([seed, shot, frame, index]).normal(0, 12, (40, 20, 3))
    stream = BytesIO()
    Image.fromarray((colour + noise).clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=95)
    crop = Crop(
        film=film, shot=shot, frame=7 * frame, index=index, time=time, box=(0, 0, 20 + index, 40), identity=identity
    )
    return StoredCrop(crop, stream.getvalue())


@pytest.fixture
def data_root() -> Path:
    """The real data, or a skip."""
    root = Path(os.environ.get("PASSERBY_DATA_ROOT", Path(__file__).parents[2] / "shared" / "data"))
    if not root.is_dir():
        pytest.skip(f"no real data under {root} (set PASSERBY_DATA_ROOT)")
    return root
