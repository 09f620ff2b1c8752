"""Frames a second of `passerby ingest` over those of a serial loop that does the same, with the same two threads.

The loop is what one would write first: decode a frame, compare it with the last one, look for people in every 7th (onnxruntime with
two threads), write their JPEG files to the shards, take the next one. It is measured with PyAV's own threading of the decoder, which
is one thread for most films, and with two. Takes a detector and films; without them it draws street scenes, and a detector that knows
where everybody is takes the time of two convolutions.

    python benchmarks/ingest.py --detector yolox.onnx film.mp4 ...
"""

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import torch
from common import THREADS, ratio
from torch import nn

from passerby.data.images import Pixels
from passerby.data.synthetic import write_street
from passerby.data.video import film as film_module
from passerby.data.video.boxes import Boxes
from passerby.data.video.cuts import CutDetector
from passerby.data.video.detector import Detector
from passerby.data.video.film import FilmJob, ingest_film
from passerby.data.video.frames import FilmReader
from passerby.data.video.look import looker
from passerby.data.video.settings import IngestSettings
from passerby.data.video.sources import Source, find_sources
from passerby.data.video.stretch import finish_shot
from passerby.data.video.writer import FilmWriter
from passerby.data.video.yolox import Yolox

LIMIT = 1.4
REPEATS = 4
SIZE, BOX_STEP = (1080, 1920), 90


class Everywhere:
    """Finds twelve people wherever it looks, after the work of a small network."""

    def __init__(self) -> None:
        self.network = nn.Sequential(nn.Conv2d(3, 32, 3, 2), nn.ReLU(), nn.Conv2d(32, 64, 3, 2)).eval()
        left = torch.arange(12.0).numpy() * BOX_STEP
        self.boxes = Boxes(torch.stack([torch.tensor([x, 300, x + 80, 520]) for x in left]).numpy(), left * 0 + 0.9)

    @torch.inference_mode()
    def detect(self, image: Pixels) -> Boxes:
        self.network(torch.rand(1, 3, 416, 416))
        return self.boxes


def two_threads(path: Path, score: float) -> Yolox:
    """The detector with two threads for one frame."""
    detector = Yolox(path, score)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    detector._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return detector


def serial(
    source: Source, out: Path, settings: IngestSettings, detector: Detector, threads: int, parts: Counter[str]
) -> int:
    """One film, one step after the other; adds the seconds of each part, returns the number of frames."""

    def timed(part: str, work: Callable[[], object]) -> object:
        start = time.perf_counter()
        result = work()
        parts[part] += time.perf_counter() - start
        return result

    look, cuts, frames, instants = looker(settings, detector, {}), CutDetector(settings.cut), 0, []
    reader = iter(FilmReader(source.path, threads=threads).frames())
    with FilmWriter(out, source.name, source="serial", settings="serial", resume=False) as writer:
        shot, passed = 0, 0
        while (frame := timed("decoding", lambda: next(reader, None))) is not None:
            if timed("shot detection", lambda f=frame: cuts.is_cut(f.small())):
                writer.add(finish_shot(source.name, shot, instants, settings, Counter()), {})
                shot, passed, instants = shot + 1, 0, []
            if passed % settings.every == 0:
                instants.append(timed("people and JPEG", lambda f=frame: look(f)))
            frames, passed = frames + 1, passed + 1
        crops = finish_shot(source.name, shot, instants, settings, Counter())
        timed("writing", lambda: writer.add(crops, {}))
        timed("writing", lambda: writer.finish({}))
    return frames


def main() -> None:
    """Prints the ratio, and what share each part of the serial loop takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("films", nargs="*", type=Path)
    parser.add_argument("--detector", type=Path, help="a YOLOX-style .onnx file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    settings = IngestSettings(detector=arguments.detector, min_people=0)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        films = arguments.films
        if not films:
            drawn = write_street(out / "film", 1, shots=1, seconds=3, fps=25, people=12, size=SIZE)
            films = [drawn[0] / "film.mp4"]
        if settings.detector is None:
            film_module.load_detector = lambda path, score: everywhere
            everywhere = Everywhere()
        sources = [s for s in find_sources(films) if s.kind == "film"]
        theirs = two_threads(settings.detector, settings.score) if settings.detector else everywhere
        for source in sources:
            job = FilmJob(source, "digest", out / "ours", settings, resume=False, threads=THREADS)
            for threads in (1, THREADS):
                parts: Counter[str] = Counter()
                frames = serial(source, out / "serial", settings, theirs, threads, Counter())
                slower, fastest = ratio(
                    lambda s=source, n=threads, p=parts: serial(s, out / "serial", settings, theirs, n, p),
                    lambda j=job: ingest_film(j),
                    REPEATS,
                )
                whole = sum(parts.values())
                shares = ", ".join(f"{part} {100 * spent / whole:.0f} %" for part, spent in parts.most_common())
                print(
                    f"{source.name}: {frames / fastest:.0f} frames/s, {slower:.2f} x the {frames / fastest / slower:.0f} of the "
                    f"loop with {threads} decoding threads (goal {LIMIT} x); of the loop: {shares}"
                )


if __name__ == "__main__":
    main()
