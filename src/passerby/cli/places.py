"""Verbs for crops of a place: embed, adapt, diagnose."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from passerby.cli.options import LARGEST_SEED, UNKNOWN, Device, OnnxBgr, OnnxMean, OnnxSize, OnnxStd


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
    unknown: Annotated[str | None, typer.Option(help=UNKNOWN)] = None,
    device: Device = "auto",
    size: OnnxSize = None,
    mean: OnnxMean = None,
    std: OnnxStd = None,
    bgr: OnnxBgr = False,
) -> None:
    """Embed every image of a folder."""
    from passerby.commands.embed import embed as run
    from passerby.commands.onnx_input import onnx_card

    run(model, images, out, flip, device, onnx_card(size, mean, std, bgr), site=site, cameras=cameras, unknown=unknown)


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
    unknown: Annotated[str | None, typer.Option(help=UNKNOWN)] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=LARGEST_SEED, help="Fixes which images are drawn, and their order.")
    ] = 0,
    device: Device = "auto",
) -> None:
    """Adapt a model to a place from unlabelled crops: a small file that the model can wear, and take off again."""
    from passerby.commands.adapt import adapt as run
    from passerby.commands.adapt import show_profile

    profile = run(
        model,
        images,
        out,
        cameras=cameras,
        method=method,
        unknown=unknown,
        seed=seed,
        device=device,
        progress=sys.stderr.isatty(),
    )
    show_profile(profile, out)


def diagnose(
    model: Annotated[Path, typer.Argument(help="A saved model, or a run's folder.")],
    images: Annotated[Path, typer.Option(help="Folder of unlabelled person crops of the place, subfolders included.")],
    report: Annotated[Path | None, typer.Option(help="Write a self-contained HTML page with pictures.")] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=LARGEST_SEED, help="Fixes the order in which the images adapt the model.")
    ] = 0,
    device: Device = "auto",
) -> None:
    """Say how far a place is from what a model knows, and whether adapting to it will help. Needs no labels."""
    from passerby.commands.diagnose import diagnose as run
    from passerby.commands.diagnose import show_diagnosis
    from passerby.files import check_writable

    check_writable(report)
    found = run(model, images, seed=seed, device=device, progress=sys.stderr.isatty())
    show_diagnosis(found, f"{model} at {images}", report)
