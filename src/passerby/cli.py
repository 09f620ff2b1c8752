"""The command line: one command a verb; each verb's work is done in passerby.commands."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from passerby.errors import PasserbyError, explain_system_error
from passerby.memory import keep_freed_memory

app = typer.Typer(
    name="passerby",
    help=(
        "Recognise people on cameras that the model has never seen.\n\n"
        "Start with `passerby demo`: it trains on three synthetic domains, measures on a fourth, and writes a report."
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
datasets_app = typer.Typer(help="Look at, check and prepare datasets; make synthetic ones.", no_args_is_help=True)
recipes_app = typer.Typer(help="Look at the packaged recipes.", no_args_is_help=True)
app.add_typer(datasets_app, name="datasets")
app.add_typer(recipes_app, name="recipes")

DataRoot = Annotated[Path, typer.Option(help="Folder that holds the datasets, in torchreid's folder names.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Override of a recipe's key, as in data.sources=market1501,cuhk03; may be repeated. `recipes show` names the keys.",
    ),
]
BudgetOption = Annotated[
    Literal["quick", "standard", "full"],
    typer.Option(
        help="quick: 960 base steps, at most 4 images an identity, 128x64. standard: 3,060 steps, at most 8. On film: 60,000 and "
        "200,000 crops. full: the recipe's own."
    ),
]
OnnxSize = Annotated[
    str | None, typer.Option("--size", help="Input of an .onnx file, as in 256x128; by default its graph's or card's.")
]
OnnxMean = Annotated[
    str | None, typer.Option("--mean", help="Mean of its input, as in 0.485,0.456,0.406 (ImageNet's).")
]
OnnxStd = Annotated[
    str | None, typer.Option("--std", help="Deviation of its input, as in 0.229,0.224,0.225 (ImageNet's).")
]
OnnxBgr = Annotated[bool, typer.Option("--bgr", help="The .onnx file wants blue, green, red.")]
UNKNOWN = (
    "How a model with statistics of its training domains (model.norm=domain) looks at images of unknown domain: bank, nearest, "
    "colours, experts, both or mix; by default as it was trained to."
)
Device = Annotated[str, typer.Option(help="auto, cpu, gpu or mps.")]


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder of the run and of report.html.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Fixes people, cameras and training.")] = 0,
) -> None:
    """Train on three synthetic domains, measure on an unseen fourth, write report.html. Minutes on two cores."""
    from passerby.commands.demo import demo as run

    run(out, seed)


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A packaged recipe (`passerby recipes list`) or a .yaml file.")],
    data_root: DataRoot,
    out: Annotated[Path, typer.Option(help="Folder of the run: model, checkpoints, logs.")],
    overrides: Overrides = None,
    budget: BudgetOption = "full",
    seed: Annotated[int, typer.Option(help="Fixes initialisation, data order and augmentation.")] = 0,
    device: Device = "auto",
    init_from: Annotated[Path | None, typer.Option(help="Start from the weights of this run or saved model.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Take up the run in --out where its last checkpoint left it.")
    ] = False,
) -> None:
    """Train a model on labelled source datasets, or on film without labels (data.shards)."""
    from passerby.commands.train import train as run
    from passerby.recipes import load_recipe

    loaded = load_recipe(recipe, overrides, budget)
    model = run(
        loaded,
        data_root,
        out,
        recipe_name=recipe,
        overrides=overrides or [],
        budget=budget,
        seed=seed,
        device=device,
        init_from=init_from,
        resume=resume,
    )
    typer.echo(f"model: {model}")


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="A saved model, a run's folder, or an .onnx embedder.")],
    data_root: DataRoot,
    targets: Annotated[str, typer.Option(help="Comma-separated datasets, or name=path for your own.")],
    protocol: Annotated[
        str,
        typer.Option(
            help="`free`; `leave-one-source-out`: one random image of each identity and camera is a query, the rest the gallery; "
            "`one-to-four`: a random fifth of the images are queries."
        ),
    ] = "free",
    rerank: Annotated[bool, typer.Option("--rerank", help="k-reciprocal re-ranking.")] = False,
    flip: Annotated[
        bool, typer.Option("--flip", help="Average the embeddings of an image and its mirror image.")
    ] = False,
    adapt: Annotated[
        str | None,
        typer.Option(
            help="Adapt to the gallery of each split, without labels: adabn, bnta or entropy; with parameters as in "
            "'bnta:lr=1e-3;pairs=64'."
        ),
    ] = None,
    camera_normalise: Annotated[
        bool,
        typer.Option(
            "--camera-normalise",
            help="Bring each camera's embeddings to mean 0 and deviation 1, by images that are no queries.",
        ),
    ] = False,
    site: Annotated[Path | None, typer.Option(help="Wear this site profile (`passerby adapt`).")] = None,
    top_k: Annotated[
        str | None,
        typer.Option(
            help="For a model with a matcher: how many gallery images of each query, the best by the embedding, the matcher ranks "
            "[default: 200]; all: exact, and slow; 0: by the embedding alone."
        ),
    ] = None,
    unknown: Annotated[str | None, typer.Option(help=UNKNOWN)] = None,
    device: Device = "auto",
    json: Annotated[Path | None, typer.Option(help="Write the metrics as JSON.")] = None,
    records: Annotated[Path | None, typer.Option(help="Write one record a target into this folder.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write a self-contained HTML report.")] = None,
    size: OnnxSize = None,
    mean: OnnxMean = None,
    std: OnnxStd = None,
    bgr: OnnxBgr = False,
) -> None:
    """Measure a model on targets that took no part in its training."""
    from passerby.commands.evaluate import evaluate as run
    from passerby.commands.onnx_input import onnx_card

    run(
        model,
        data_root,
        _listed(targets),
        protocol=protocol,
        rerank=rerank,
        flip=flip,
        adapt=adapt,
        camera_normalise=camera_normalise,
        site=site,
        top_k=top_k,
        unknown=unknown,
        device=device,
        json_file=json,
        records_folder=records,
        report_file=report,
        onnx_card=onnx_card(size, mean, std, bgr),
    )


@app.command()
def bench(
    recipes: Annotated[str, typer.Option(help="Comma-separated recipes.")],
    data_root: DataRoot,
    out: Annotated[Path, typer.Option(help="Folder of cells and records; a finished cell there is never run again.")],
    overrides: Overrides = None,
    protocol: Annotated[
        str,
        typer.Option(
            help="large-to-small, leave-one-out, single-source, leave-one-source-out, one-to-four or free (docs/protocols.md)."
        ),
    ] = "free",
    targets: Annotated[
        str, typer.Option(help="Comma-separated targets, or name=path for your own; a named protocol may have its own.")
    ] = "",
    seeds: Annotated[int, typer.Option(help="Seeds 0 .. N - 1.", min=1)] = 3,
    budget: BudgetOption = "quick",
    adapt: Annotated[
        list[str] | None,
        typer.Option(
            help="Measure each model this way: none, camera, an adaptation as in evaluate --adapt, or one and +camera; may be "
            "repeated. By default none."
        ),
    ] = None,
    unknown: Annotated[list[str] | None, typer.Option(help=UNKNOWN + " May be repeated.")] = None,
    device: Device = "auto",
) -> None:
    """Train and measure recipes over seeds, cell by cell, and print the table."""
    from passerby.commands.bench import bench as run

    failed = run(
        _listed(recipes),
        data_root,
        out,
        overrides or [],
        protocol,
        _listed(targets),
        seeds,
        budget,
        device,
        adapt or ["none"],
        unknown or [],
    )
    if failed:
        raise typer.Exit(1)


@app.command()
def embed(
    model: Annotated[Path, typer.Argument(help="A saved model, a run's folder, or an .onnx embedder.")],
    images: Annotated[Path, typer.Option(help="Folder of person crops, subfolders included.")],
    out: Annotated[Path, typer.Option(help="A .npz file: `paths` [N] and `embeddings` [N, D] float32.")],
    site: Annotated[Path | None, typer.Option(help="Wear this site profile (`passerby adapt`).")] = None,
    cameras: Annotated[
        Path | None,
        typer.Option(
            help="CSV table with the columns path and camera, for a profile that knows cameras: each image is normalised by its own."
        ),
    ] = None,
    flip: Annotated[
        bool, typer.Option("--flip", help="Average the embeddings of an image and its mirror image.")
    ] = False,
    device: Device = "auto",
    size: OnnxSize = None,
    mean: OnnxMean = None,
    std: OnnxStd = None,
    bgr: OnnxBgr = False,
) -> None:
    """Embed every image of a folder."""
    from passerby.commands.embed import embed as run
    from passerby.commands.onnx_input import onnx_card

    run(model, images, out, flip, device, onnx_card(size, mean, std, bgr), site=site, cameras=cameras)


@app.command()
def adapt(
    model: Annotated[Path, typer.Argument(help="A saved model, or a run's folder.")],
    images: Annotated[Path, typer.Option(help="Folder of unlabelled person crops of the place, subfolders included.")],
    out: Annotated[Path, typer.Option(help="The site profile, a .safetensors file.")],
    cameras: Annotated[
        Path | None,
        typer.Option(
            help="CSV table with the columns path and camera: the profile then normalises each camera's embeddings."
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="bnta (default where the model has part heads), adabn (default elsewhere), entropy or none (cameras alone); "
            "with parameters as in 'adabn:weight=0.5'."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Fixes which images are drawn, and their order.")] = 0,
    device: Device = "auto",
) -> None:
    """Adapt a model to a place from unlabelled crops: a small file that the model can wear, and take off again."""
    from passerby.commands.adapt import adapt as run
    from passerby.commands.adapt import show_profile

    profile = run(
        model, images, out, cameras=cameras, method=method, seed=seed, device=device, progress=sys.stderr.isatty()
    )
    show_profile(profile, out)


@app.command()
def diagnose(
    model: Annotated[Path, typer.Argument(help="A saved model, or a run's folder.")],
    images: Annotated[Path, typer.Option(help="Folder of unlabelled person crops of the place, subfolders included.")],
    report: Annotated[Path | None, typer.Option(help="Write a self-contained HTML page with pictures.")] = None,
    seed: Annotated[int, typer.Option(help="Fixes which images are drawn, and their order.")] = 0,
    device: Device = "auto",
) -> None:
    """Say how far a place is from what a model knows, and whether adapting to it will help. Needs no labels."""
    from passerby.commands.diagnose import diagnose as run
    from passerby.commands.diagnose import show_diagnosis
    from passerby.files import refuse_folder

    refuse_folder(report)
    found = run(model, images, seed=seed, device=device, progress=sys.stderr.isatty())
    show_diagnosis(found, f"{model} at {images}", report)


@app.command()
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
    fps: Annotated[
        float | None, typer.Option(help="Frames a second where the film does not say; 25 by default, with a warning.")
    ] = None,
    join: Annotated[int, typer.Option(help="Frames of ready-made crops that make one instant.", min=1)] = 1,
    tracker: Annotated[
        str | None, typer.Option(help="Number people through a shot: sort, bytetrack or ocsort (extra `tracks`).")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Films at a time; by default one for two processors.")] = None,
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
                "fps": fps,
                "join": join,
                "tracker": tracker,
            }
        )
    except ValidationError as error:
        reason = error.errors()[0]
        raise PasserbyError(f"--{str(reason['loc'][0]).replace('_', '-')}: {reason['msg']}") from error
    run(films, out, settings, workers=workers, engine=engine, progress=sys.stderr.isatty())


@datasets_app.command("list")
def datasets_list() -> None:
    """Names, folders and published counts of all datasets that can be read."""
    from passerby.commands.datasets import list_datasets

    list_datasets()


@datasets_app.command("check")
def datasets_check(
    name: Annotated[str, typer.Argument(help="A dataset's name, or name=path.")], data_root: DataRoot
) -> None:
    """Count what is there beside what was published, and name the first files that do not fit."""
    from passerby.commands.datasets import check_dataset

    check_dataset(name, data_root)


@datasets_app.command("prepare")
def datasets_prepare(name: Annotated[str, typer.Argument(help="cuhk03 or cuhk-sysu.")], data_root: DataRoot) -> None:
    """Cut or extract the images of a dataset that comes as frames or as a .mat file."""
    from passerby.commands.datasets import prepare_dataset

    prepare_dataset(name, data_root)


@datasets_app.command("synth")
def datasets_synth(
    out: Annotated[Path, typer.Option(help="Folder to write; each domain in Market-1501's layout.")],
    domains: Annotated[str, typer.Option(help="Comma-separated synthetic domains; all by default.")] = "",
    identities: Annotated[int, typer.Option(help="People a domain.", min=2)] = 200,
    seed: Annotated[int, typer.Option(help="Fixes people and cameras.")] = 0,
) -> None:
    """Draw synthetic pedestrians."""
    from passerby.commands.datasets import synthesise

    synthesise(out, _listed(domains), identities, seed)


@datasets_app.command("synth-video")
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
    seed: Annotated[int, typer.Option(help="Fixes places, people and ways.")] = 0,
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
        targets=_listed(targets),
        identities=identities,
    )


@recipes_app.command("list")
def recipes_list() -> None:
    """Names and summaries of the packaged recipes."""
    from passerby.commands.recipes import list_recipes

    list_recipes()


@recipes_app.command("show")
def recipes_show(
    name: Annotated[str, typer.Argument(help="A packaged recipe or a .yaml file.")],
    overrides: Overrides = None,
    budget: BudgetOption = "full",
) -> None:
    """The whole recipe, defaults, budget and overrides included."""
    from passerby.commands.recipes import show_recipe

    show_recipe(name, overrides or [], budget)


def main() -> None:
    """Runs the command line; bad input ends in one line on stderr and exit code 2."""
    keep_freed_memory()
    try:
        app()
    except PasserbyError as error:
        print(f"passerby: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(f"passerby: {explain_system_error(error)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("passerby: interrupted", file=sys.stderr)
        sys.exit(130)
