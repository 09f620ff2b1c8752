"""passerby evaluate."""

from pathlib import Path
from typing import Annotated

import typer

from passerby.cli.options import UNKNOWN, DataRoot, Device, OnnxBgr, OnnxMean, OnnxSize, OnnxStd, listed


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
        listed(targets),
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
