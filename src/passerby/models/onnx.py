"""An embedder exported to ONNX: the model that people already run, measured on our protocols."""

from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationError
from torch import Tensor

from passerby.data.images import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from passerby.errors import PasserbyError
from passerby.models.embedder import Embedder


class OnnxCard(BaseModel):
    """What `MODEL.json` beside `MODEL.onnx` may say of its input; the rest is the graph's or ImageNet's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: int | None = Field(None, gt=0)
    width: int | None = Field(None, gt=0)
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = IMAGENET_STD
    bgr: bool = False


class OnnxEmbedder(Embedder):
    """An ONNX graph with one input [N, 3, H, W] and one output [N, D], run by onnxruntime on the CPU.

    Attributes:
        path: the .onnx file.
        preprocessing: size from the graph, RGB and ImageNet's statistics unless a card says otherwise.
    """

    def __init__(self, path: Path, card: OnnxCard | None = None) -> None:
        """Opens the graph.

        Args:
            path: the .onnx file.
            card: what its input looks like; by default the .json file beside it, else what the graph says.

        Raises:
            PasserbyError: when the file is no ONNX graph of that form, or its input size is said nowhere.
        """
        import onnxruntime

        if not path.is_file():
            raise PasserbyError(f"{path}: no such file")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        try:
            self._session: Any = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises exception types of its own
            raise PasserbyError(f"{path}: onnxruntime cannot open it ({str(error).splitlines()[0]})") from error
        self.path = path
        inputs = self._session.get_inputs()
        if (
            len(inputs) != 1
            or len(inputs[0].shape) != 4
            or inputs[0].shape[1] != 3
            or inputs[0].type != "tensor(float)"
        ):
            found = ", ".join(f"{i.name} {i.type} {i.shape}" for i in inputs)
            raise PasserbyError(f"{path}: an embedder has one float32 input [N, 3, H, W]; this graph has {found}")
        self._input = inputs[0].name
        # A graph exported for one batch size takes only that: such a graph is fed image by image.
        self._batch = inputs[0].shape[0] if isinstance(inputs[0].shape[0], int) else None
        card = card or _card_beside(path)
        height, width = card.height or inputs[0].shape[2], card.width or inputs[0].shape[3]
        if not (isinstance(height, int) and isinstance(width, int)):
            raise PasserbyError(
                f"{path}: its graph takes any image size; say which in {path.with_suffix('.json').name}: height and "
                f"width"
            )
        if any(
            isinstance(fixed, int) and fixed != said
            for fixed, said in zip(inputs[0].shape[2:], (height, width), strict=True)
        ):
            raise PasserbyError(
                f"{path}: its graph takes {inputs[0].shape[2]} x {inputs[0].shape[3]} images, "
                f"{path.with_suffix('.json').name} says {height} x {width}; mend height and width there"
            )
        self.preprocessing = Preprocessing(height=height, width=width, mean=card.mean, std=card.std, bgr=card.bgr)

    @property
    def device(self) -> torch.device:
        """The CPU."""
        return torch.device("cpu")

    def embed_batch(self, pixels: Tensor) -> Tensor:
        """Raw embeddings [N, D] of RGB pixels [N, 3, H, W], 0 to 255."""
        inputs = self.preprocessing.normalise(pixels).contiguous()
        if self._batch is None:
            return self._run(inputs)
        rest = -len(inputs) % self._batch
        padded = torch.cat([inputs, inputs[-1:].expand(rest, -1, -1, -1)])
        return torch.cat([self._run(padded[i : i + self._batch]) for i in range(0, len(padded), self._batch)])[
            : len(inputs)
        ]

    def _run(self, inputs: Tensor) -> Tensor:
        output = torch.from_numpy(self._session.run(None, {self._input: inputs.numpy()})[0])
        if output.ndim < 2 or output.shape[1] != output.shape[1:].numel():
            raise PasserbyError(
                f"{self.path}: its first output has the shape {list(output.shape)}; an embedder puts out [N, D]"
            )
        return output.flatten(1)


def _card_beside(path: Path) -> OnnxCard:
    card = path.with_suffix(".json")
    if not card.is_file():
        return OnnxCard()
    try:
        return OnnxCard.model_validate_json(card.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = "".join(f"{part}: " for part in first["loc"])
        raise PasserbyError(
            f"{card}: {place}{first['msg'].lower()}; known keys: {', '.join(OnnxCard.model_fields)}"
        ) from error
