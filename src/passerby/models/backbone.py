"""Any timm network as a feature extractor that puts out maps [N, C, h, w]."""

import logging
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from passerby.errors import PasserbyError, nearest


class Backbone(nn.Module):
    """A timm network without its classifier.

    Attributes:
        network: the timm network itself; norm surgery works on it.
        channels: C of the last map.
        stages: names of the stages (timm's module names) whose maps are put out beside the last one.
        stages_in_order: the same in the network's order, as their maps are put out.
        image_size: (height, width) that it was built for.
        whole: no layer was taken out at its end.
    """

    whole = True

    def __init__(
        self, name: str, image_size: tuple[int, int], last_stride_1: bool = True, stages: tuple[str, ...] = ()
    ) -> None:
        """Creates the network with random weights.

        Args:
            name: timm's name, `mobilenetv2_100` say.
            image_size: (height, width) of the input, which transformers have to know.
            last_stride_1: the last down-sampling is taken out, so the last map has twice the height and width (Luo et
                al., "Bag of Tricks", CVPRW 2019); convolutional networks only.
            stages: stages whose maps are put out.

        Raises:
            PasserbyError: for a name that timm does not know, or a stage that the network does not have.
        """
        super().__init__()
        self.name, self.image_size, self.stages = name, image_size, stages
        self.network = _create(name, image_size)
        for path, module in list(self.network.named_modules()):
            if isinstance(module, nn.ReLU6):
                self.network.set_submodule(path, _ReLU6())
        known = [info["module"] for info in self.network.feature_info]
        for stage in stages:
            if stage not in known:
                raise PasserbyError(f"model.stages: {name} has no stage '{stage}'; {nearest(stage, known)}")
        # timm puts maps out in the network's order, whatever the order that they are asked for in.
        self._taken = sorted({known.index(stage) for stage in stages})
        self.stages_in_order = [known[index] for index in self._taken]
        try:
            if last_stride_1:
                remove_last_stride(self.network, image_size)
            with torch.no_grad():
                self.network.eval()
                self.channels = self.forward(torch.zeros(1, 3, *image_size))[0].shape[1]
                self.network.train()
        except (RuntimeError, AssertionError) as error:  # a transformer asserts that its patches fill the image
            raise PasserbyError(
                f"model.backbone: {name} does not run on {image_size[0]} x {image_size[1]} images"
                + (" with its last stride taken out; set model.last_stride_1 to false" if last_stride_1 else "")
                + f" ({str(error).splitlines()[0]})"
            ) from error

    def forward(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Maps of a batch.

        Args:
            images: float [N, 3, H, W], normalised.

        Returns:
            the last map [N, C, h, w], and the maps of `stages` by name.
        """
        if not self.stages:
            return self._as_map(self.network.forward_features(images), images), {}
        last, maps = self.network.forward_intermediates(images, indices=self._taken, norm=False, output_fmt="NCHW")
        return self._as_map(last, images), dict(zip(self.stages_in_order, maps, strict=True))

    def end_with_stages(self) -> None:
        """Takes out every layer behind the last of `stages`; that stage's map is the last one from now on.

        Raises:
            PasserbyError: for a network that cannot be cut there.
        """
        try:
            self.network.prune_intermediate_layers(self._taken, prune_norm=True, prune_head=True)
        except (AttributeError, AssertionError) as error:
            raise PasserbyError(
                f"model.backbone: {self.name} cannot end with {self.stages_in_order[-1]}; choose a MobileNet or a ResNet"
            ) from error
        self.channels = self.network.feature_info[self._taken[-1]]["num_chs"]
        self.whole = False

    def _as_map(self, features: Tensor, images: Tensor) -> Tensor:
        if features.ndim == 3:  # [N, tokens, C] of a vision transformer: class and register tokens are left out
            features = features[:, getattr(self.network, "num_prefix_tokens", 0) :]
            patches: Any = getattr(self.network, "patch_embed", None)
            if not hasattr(patches, "dynamic_feat_size"):
                raise PasserbyError(
                    f"model.backbone: {self.name} puts out tokens without a grid of patches; choose another network"
                )
            height, width = patches.dynamic_feat_size(images.shape[2:])
            return features.transpose(1, 2).reshape(len(features), -1, height, width)
        if getattr(self.network, "output_fmt", "NCHW") == "NHWC":
            return features.permute(0, 3, 1, 2)
        return features


class _ReLU6(nn.ReLU6):
    """In place where no gradient is wanted; elsewhere autograd would copy what an operation in place overwrites."""

    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.relu6(input, inplace=not torch.is_grad_enabled())


def load_imagenet(backbone: Backbone, weights: Path | None) -> None:
    """Loads ImageNet weights into a fresh backbone, before any surgery.

    Args:
        backbone: the backbone as created.
        weights: a .safetensors file with timm's key names, or None for timm's hub (needs a network once).

    Raises:
        PasserbyError: when the file or the hub has no weights that fit; every key that does not fit is named.
    """
    if weights is None:
        # Its warnings of every vain attempt would bury the one line that helps.
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
        try:
            state = _create(backbone.name, backbone.image_size, pretrained=True).state_dict()
        except Exception as error:  # the hub raises errors of several libraries
            raise PasserbyError(
                f"model.weights: no ImageNet weights for {backbone.name} from timm's hub "
                f"({str(error).splitlines()[0]}); "
                f"put {backbone.name}_imagenet.safetensors in DATA_ROOT/weights, or set model.weights to a file or "
                f"to none"
            ) from error
    else:
        if not weights.is_file():
            raise PasserbyError(f"model.weights: no file {weights}; give a .safetensors file, hub or none")
        try:
            state = load_file(weights)
        except Exception as error:  # safetensors raises its own exception type
            raise PasserbyError(f"model.weights: {weights} is no safetensors file ({error})") from error
    wanted = backbone.network.state_dict()
    if weights is not None and any(key in wanted and wanted[key].shape != value.shape for key, value in state.items()):
        state = _resized(backbone, weights, state)
    # The classifier goes; ConvNeXt's `head.norm` belongs to the network.
    state = {
        key: value
        for key, value in state.items()
        if key in wanted or not key.startswith(("classifier.", "fc.", "head."))
    }
    misfits = sorted(
        {key for key in wanted.keys() ^ state.keys() if not key.endswith("num_batches_tracked")}
        | {key for key in wanted.keys() & state.keys() if wanted[key].shape != state[key].shape}
    )
    if misfits:
        raise PasserbyError(
            f"model.weights: {weights or 'hub'} does not fit {backbone.name}; keys that do not fit: "
            f"{', '.join(misfits)}"
        )
    backbone.network.load_state_dict(state, strict=False)


def _resized(backbone: Backbone, weights: Path, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights as timm adapts them to the image size (position embeddings of transformers); as they are if it cannot."""
    try:
        network = _create(backbone.name, backbone.image_size, pretrained=True, file=weights)
    except (RuntimeError, KeyError):  # of another network: its keys are named by the caller
        return state
    return dict(network.state_dict())


def remove_last_stride(network: nn.Module, image_size: tuple[int, int]) -> list[str]:
    """Takes out the last down-sampling of a convolutional network and names the layers that lost a stride.

    These are the strided layers that see the smallest input: the main branch and the shortcut of the last stage alike.
    A network without strided convolutions after its patch embedding (a plain transformer) is left as it is.
    """
    seen: dict[str, int] = {}
    hooks = [
        module.register_forward_hook(lambda _, inputs, __, name=name: seen.__setitem__(name, inputs[0].shape[2]))
        for name, module in network.named_modules()
        if isinstance(module, (nn.Conv2d, nn.AvgPool2d, nn.MaxPool2d)) and _stride(module) == 2
    ]
    training = network.training
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, *image_size))
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    last = [name for name, height in seen.items() if height == min(seen.values())]
    for name in last:
        module = network.get_submodule(name)
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
            if (
                module.kernel_size[0] % 2 == 0
            ):  # ConvNeXt's 2 x 2 windows: without padding the map would lose a row and a column
                module.padding = "same"
        else:
            network.set_submodule(name, nn.Identity())
    return last


def _stride(module: nn.Module) -> Any:
    stride = module.stride
    return stride[0] if isinstance(stride, tuple) else stride


def _create(name: str, image_size: tuple[int, int], pretrained: bool = False, file: Path | None = None) -> Any:
    if not timm.is_model(name):
        raise PasserbyError(f"model.backbone: timm knows no '{name}'; {nearest(name, timm.list_models())[:200]}")
    options: dict[str, Any] = {"pretrained": pretrained, "num_classes": 0}
    if file is not None:
        options["pretrained_cfg_overlay"] = {"file": str(file)}
    try:
        return timm.create_model(name, img_size=image_size, **options)
    except TypeError:  # convolutional networks take no image size
        return timm.create_model(name, **options)
