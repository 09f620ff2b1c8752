"""Opening whatever embeds: a saved model, the folder of a training run, or an ONNX file."""

from pathlib import Path

from passerby.errors import PasserbyError
from passerby.models.embedder import Embedder
from passerby.models.onnx import OnnxCard, OnnxEmbedder
from passerby.models.saved import CARD, load_model


def load(path: str | Path, device: str = "cpu", onnx_card: OnnxCard | None = None) -> Embedder:
    """Opens an embedder.

    Args:
        path: a saved model's folder, the folder of a run that holds `model/`, or an .onnx file.
        device: where a saved model runs, in torch's words; ONNX files run on the CPU.
        onnx_card: what the input of an ONNX file looks like; None: what the card beside it or its graph says.

    Returns:
        the embedder, ready for `embed`.

    Raises:
        PasserbyError: when nothing there can be opened.
    """
    path = Path(path)
    if path.suffix == ".onnx":
        return OnnxEmbedder(path, onnx_card)
    if onnx_card is not None:
        raise PasserbyError(
            f"{path}: a saved model knows its own input; --size, --mean, --std and --bgr are for .onnx files"
        )
    folder = model_folder(path)
    return load_model(folder)[0].to(device)


def model_folder(path: Path) -> Path:
    """The saved model at `path`: itself, or `path/model` of a run.

    Raises:
        PasserbyError: when there is neither.
    """
    for folder in (path, path / "model"):
        if (folder / CARD).is_file():
            return folder
    if (path / "checkpoints").is_dir():
        raise PasserbyError(
            f"{path}: this run is not finished, it has no model yet; go on with `passerby train ... --out {path} "
            f"--resume`"
        )
    raise PasserbyError(f"{path}: no saved model, run or .onnx file; give what `passerby train --out` wrote")
