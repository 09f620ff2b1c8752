"""passerby datasets: look at, check, prepare and make them."""

from pathlib import Path
from typing import Annotated

import typer

from passerby.cli.options import LARGEST_SEED, DataRoot, listed

app = typer.Typer(help="Look at, check and prepare datasets; make synthetic ones.", no_args_is_help=True)


@app.command("list")
def datasets_list() -> None:
    """Names, folders and published counts of all datasets that can be read."""
    from passerby.commands.datasets import list_datasets

    list_datasets()


@app.command("check")
def datasets_check(
    name: Annotated[str, typer.Argument(help="A dataset's name, or name=path.")], data_root: DataRoot
) -> None:
    """Count what is there beside what was published, and name the first files that do not fit."""
    from passerby.commands.datasets import check_dataset

    check_dataset(name, data_root)


@app.command("prepare")
def datasets_prepare(name: Annotated[str, typer.Argument(help="cuhk03 or cuhk-sysu.")], data_root: DataRoot) -> None:
    """Cut or extract the images of a dataset that comes as frames or as a .mat file."""
    from passerby.commands.datasets import prepare_dataset

    prepare_dataset(name, data_root)


@app.command("synth")
def datasets_synth(
    out: Annotated[Path, typer.Option(help="Folder to write; each domain in Market-1501's layout.")],
    domains: Annotated[str, typer.Option(help="Comma-separated synthetic domains; all by default.")] = "",
    identities: Annotated[int, typer.Option(help="People a domain.", min=2)] = 200,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Fixes people and cameras.")] = 0,
) -> None:
    """Draw synthetic pedestrians."""
    from passerby.commands.datasets import synthesise

    synthesise(out, listed(domains), identities, seed)


@app.command("synth-video")
def datasets_synth_video(
    out: Annotated[Path, typer.Option(help="Folder to write; each film in MOTChallenge's layout.")],
    films: Annotated[int, typer.Option(help="Films, each of a place of its own.", min=1)] = 8,
    shots: Annotated[int, typer.Option(help="Shots of a film, by the cameras of its place in turn.", min=1)] = 2,
    seconds: Annotated[float, typer.Option(help="Length of a shot.")] = 30.0,
    fps: Annotated[float, typer.Option(help="Frames a second.")] = 10.0,
    people: Annotated[float, typer.Option(help="People seen at a time, on average.")] = 10.0,
    frames: Annotated[bool, typer.Option("--frames", help="Write frames as .jpg instead of films.")] = False,
    targets: Annotated[
        str, typer.Option(help="Also draw these synthetic domains (comma-separated) under OUT/targets, to measure on.")
    ] = "",
    identities: Annotated[int, typer.Option(help="People a target.", min=2)] = 200,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Fixes places, people and ways.")] = 0,
) -> None:
    """Draw film of synthetic pedestrians who walk in, out and behind each other, with exact boxes and tracks."""
    from passerby.commands.datasets import synthesise_video

    synthesise_video(
        out,
        films,
        seed,
        shots=shots,
        seconds=seconds,
        fps=fps,
        people=people,
        as_frames=frames,
        targets=listed(targets),
        identities=identities,
    )
