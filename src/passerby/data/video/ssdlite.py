"""People by torchvision's SSDlite with MobileNetV3 (Howard et al., "Searching for MobileNetV3", ICCV 2019), trained on COCO."""

import torch
from torch import nn

from passerby.data.images import Pixels
from passerby.data.video.boxes import Boxes
from passerby.errors import PasserbyError

_PERSON = 1
"""Of COCO's labels as torchvision counts them."""


class SsdLite:
    """A torchvision detector, run on the CPU."""

    def __init__(self, network: nn.Module, score: float) -> None:
        """Takes a network.

        Args:
            network: of torchvision's detection models: takes [3, H, W] in 0..1, gives boxes, labels and scores.
            score: boxes with a lower one are left out.
        """
        self._network, self._score = network.eval(), score

    @torch.inference_mode()
    def detect(self, image: Pixels) -> Boxes:
        """People in a frame: see `Detector`."""
        found = self._network([torch.from_numpy(image).permute(2, 0, 1).float() / 255])[0]
        kept = (found["labels"] == _PERSON) & (found["scores"] >= self._score)
        return Boxes(found["boxes"][kept].numpy(), found["scores"][kept].numpy())


def downloaded_ssdlite() -> nn.Module:
    """SSDlite with COCO's weights, from torch's cache or downloaded into it.

    Raises:
        PasserbyError: when they cannot be downloaded.
    """
    from torchvision.models.detection import SSDLite320_MobileNet_V3_Large_Weights, ssdlite320_mobilenet_v3_large

    try:
        weights = SSDLite320_MobileNet_V3_Large_Weights.COCO_V1
        network: nn.Module = ssdlite320_mobilenet_v3_large(weights=weights, weights_backbone=None)
    except OSError as error:
        raise PasserbyError(
            f"no --detector was given, and SSDlite's weights cannot be downloaded ({error}); give --detector FILE, a YOLOX .onnx"
        ) from error
    return network
