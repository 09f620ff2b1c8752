"""Small films: two shots of a street with boxes and tracks, and films whose frames tell their number by their grey."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from passerby.data.synthetic import write_street
from passerby.data.video.settings import IngestSettings

MakeFilm = Callable[..., Path]


@pytest.fixture(scope="session")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MOT sequence: a film of two shots of four seconds, ten frames a second, and its truth."""
    out = tmp_path_factory.mktemp("street")
    (folder,) = write_street(out, 1, 3, shots=2, seconds=4, people=6, size=(120, 160), progress=False)
    return folder


@pytest.fixture(scope="session")
def quick() -> IngestSettings:
    """Settings that fit the small films: they leave crops of both shots, each cut into three stretches."""
    return IngestSettings(every=3, min_people=1, min_height=12, stretch=1.5, quality=80)


@pytest.fixture
def make_film(tmp_path: Path) -> MakeFilm:
    """`make_film(times=...)` writes one frame at each time (thousandths of a second): frame n is grey, 20 + 8 (n mod 25) +- `grain`."""
    import av

    def write(
        name: str = "film.mp4", times: Sequence[int] = range(0, 1000, 40), codec: str = "mpeg4", grain: int = 0
    ) -> Path:
        path = tmp_path / name
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=25)
            stream.width, stream.height = 64, 48
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            # MPEG-2 knows no time between its frames.
            stream.codec_context.time_base = Fraction(1, 25 if codec == "mpeg2video" else 1000)
            stream.codec_context.gop_size = 10
            stream.codec_context.qmin, stream.codec_context.qmax = 1, 2
            for number, time in enumerate(times):
                noise = np.random.default_rng(number).integers(-grain, grain + 1, (48, 64, 3))
                picture = (20 + 8 * (number % 25) + noise).astype(np.uint8)
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = time, Fraction(1, 1000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path

    return write


@pytest.fixture
def files() -> Callable[[Path], dict[str, bytes]]:
    """Every file under a folder, with its bytes."""

    def read(folder: Path) -> dict[str, bytes]:
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}

    return read
