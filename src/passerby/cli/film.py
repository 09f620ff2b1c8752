"""passerby ingest."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from passerby.errors import PasserbyError


def ingest(
    films: Annotated[
        list[Path],
        typer.Argument(
            help="Video files, MOT-style sequences, folders of crops named TRACK_FRAME.jpg, or folders of these."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the shards; films that are finished there are passed over.")],
    detector: Annotated[
        Path | None,
        typer.Option(help="A YOLOX-style .onnx file; without one torchvision's SSDlite, whose weights are downloaded."),
    ] = None,
    every: Annotated[int, typer.Option(help="Look for people in every so manyth frame.", min=1)] = 7,
    min_people: Annotated[
        float, typer.Option(help="Drop shots that show fewer people, in the mean of five frames.", min=0)
    ] = 5,
    max_people: Annotated[int, typer.Option(help="People kept of a frame, the surest ones.", min=1)] = 80,
    score: Annotated[float, typer.Option(help="Least score of a detection.", min=0, max=1)] = 0.4,
    min_height: Annotated[int, typer.Option(help="Least height of a person, pixels.", min=8)] = 48,
    stretch: Annotated[
        float, typer.Option(help="Longest shot, seconds: film of a fixed camera is cut into stretches.", min=0.1)
    ] = 60,
    cut: Annotated[
        float,
        typer.Option(help="How much frames must differ for a cut; raise it where light or motion cuts a shot.", min=1),
    ] = 27,
    fps: Annotated[
        float | None, typer.Option(help="Frames a second where the film does not say; 25 by default, with a warning.")
    ] = None,
    join: Annotated[int, typer.Option(help="Frames of ready-made crops that make one instant.", min=1)] = 1,
    tracker: Annotated[
        str | None, typer.Option(help="Number people through a shot: sort, bytetrack or ocsort (extra `tracks`).")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Films at a time; by default one for two processors.", min=1)
    ] = None,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="ray: films as tasks of a Ray cluster (extra `cluster`).")
    ] = "local",
) -> None:
    """Cut people out of film, without a label: shards of crops that ISR learns from.

    Film is cut into shots; every 7th frame is searched for people; shots with few people are dropped. The summary and a
    contact sheet lie beside the shards. After a kill the same command goes on where it was.
    """
    from pydantic import ValidationError

    from passerby.commands.ingest import ingest as run
    from passerby.data.video.settings import IngestSettings

    try:
        settings = IngestSettings.model_validate(
            {
                "detector": detector,
                "every": every,
                "min_people": min_people,
                "max_people": max_people,
                "score": score,
                "min_height": min_height,
                "stretch": stretch,
                "cut": cut,
                "fps": fps,
                "join": join,
                "tracker": tracker,
            }
        )
    except ValidationError as error:
        reason = error.errors()[0]
        raise PasserbyError(f"--{str(reason['loc'][0]).replace('_', '-')}: {reason['msg']}") from error
    run(films, out, settings, workers=workers, engine=engine, progress=sys.stderr.isatty())
