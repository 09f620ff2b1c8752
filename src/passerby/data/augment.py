"""Augmentation of a whole batch at once, on the device that trains, every image with its own draw."""

import math

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from passerby.data.images import Preprocessing


class Augmentation(BaseModel):
    """What is drawn for each training image; every field at its zero does nothing.

    Pixels are those of the network's input. Jitter follows torchvision's ColorJitter (factors uniform in [1 - x, 1 +
    x], hue shift in turns), in the fixed order brightness, contrast, saturation, hue; erasing follows Zhong et al.,
    AAAI 2020.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    flip: float = Field(0.5, ge=0, le=1)
    """Probability of a horizontal flip."""
    pad: int = Field(0, ge=0)
    """Black border added on each side before a random crop back to the original size, in pixels."""
    resized_crop: float = Field(1.0, gt=0, le=1)
    """Smallest share of the area that a random crop keeps before it is drawn to full size (MoCo: 0.2); 1: none is cut."""
    jitter: float = Field(0.0, ge=0, le=1)
    """Probability of a colour jitter."""
    brightness: float = Field(0.2, ge=0, le=1)
    contrast: float = Field(0.15, ge=0, le=1)
    saturation: float = Field(0.2, ge=0, le=1)
    hue: float = Field(0.0, ge=0, le=0.5)
    grey: float = Field(0.0, ge=0, le=1)
    """Probability of dropping the colour."""
    erase: float = Field(0.0, ge=0, le=1)
    """Probability of erasing a rectangle (2-40 % of the area, aspect ratio 0.3-3.3), filled with the mean colour."""


def augment(
    images: Tensor, augmentation: Augmentation, preprocessing: Preprocessing, generator: torch.Generator
) -> Tensor:
    """Draws, for every image of a batch on its own, the augmentation, and normalises.

    Args:
        images: uint8 [N, 3, H, W], RGB.
        augmentation: what to draw.
        preprocessing: mean and deviation.
        generator: source of every draw; a CPU generator, so that a seed gives the same batch on every device.

    Returns:
        float32 [N, 3, H, W], channels_last.
    """
    images = flip_and_crop(images, augmentation.flip, augmentation.pad, generator)
    pixels = images.float()
    if augmentation.resized_crop < 1:
        pixels = resized_crop(pixels, augmentation.resized_crop, generator)
    if augmentation.jitter > 0:
        pixels = colour_jitter(pixels / 255, augmentation, generator) * 255
    if augmentation.grey > 0:
        chosen = _draw(generator, images) < augmentation.grey
        pixels = torch.where(chosen, _luma(pixels), pixels)
    inputs = preprocessing.normalise(pixels)
    if augmentation.erase > 0:
        inputs = erase(inputs, augmentation.erase, generator)
    # Turning hues, swapping channels and erasing lose the memory format that the network is faster with.
    return inputs.contiguous(memory_format=torch.channels_last)


def flip_and_crop(images: Tensor, flip: float, pad: int, generator: torch.Generator) -> Tensor:
    """Flips each image with probability `flip`; pads by `pad` black pixels and crops back at a random place.

    Args:
        images: [N, 3, H, W], any dtype; fastest for uint8 in channels_last.
        flip: probability.
        pad: border in pixels.
        generator: CPU generator.

    Returns:
        the same shape, dtype and (channels_last) memory format.
    """
    count, _, height, width = images.shape
    rows = images.permute(0, 2, 3, 1).contiguous()
    flipped = (torch.rand(count, generator=generator) < flip).to(images.device)
    rows = torch.where(flipped.view(-1, 1, 1, 1), rows.flip(2), rows)
    if pad > 0:
        offsets = torch.randint(0, 2 * pad + 1, (2, count), generator=generator).to(images.device)
        # Windows are views; indexing them copies whole [W, 3] rows, which is far cheaper than gathering single pixels.
        windows = F.pad(rows.flatten(2), (3 * pad, 3 * pad, pad, pad)).unfold(1, height, 1).unfold(2, 3 * width, 3)
        rows = windows[torch.arange(count, device=images.device), offsets[0], offsets[1]].view(count, height, width, 3)
    return rows.permute(0, 3, 1, 2)


def resized_crop(images: Tensor, smallest: float, generator: torch.Generator) -> Tensor:
    """Cuts a random rectangle out of each image and draws it to full size, bilinear (Szegedy et al., CVPR 2015).

    Its area is uniform in [smallest, 1] of the image's, its shape the image's stretched by 3/4 to 4/3, as in torchvision's
    RandomResizedCrop, whose crops of people's shape would be squares.

    Args:
        images: float [N, 3, H, W].
        smallest: share of the area.
        generator: CPU generator.

    Returns:
        the same shape.
    """
    count, device = len(images), images.device
    area = smallest + (1 - smallest) * torch.rand(count, generator=generator)
    stretch = torch.exp(math.log(4 / 3) * (2 * torch.rand(count, generator=generator) - 1))
    size = torch.stack(((area * stretch).sqrt(), (area / stretch).sqrt())).clamp(max=1)
    centre = (1 - size) * (2 * torch.rand((2, count), generator=generator) - 1)
    # Both in units of half an image: x' = size x + centre.
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = size[0], size[1], centre.T
    grid = F.affine_grid(theta.to(device), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def colour_jitter(images: Tensor, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """Brightness, contrast, saturation and hue of each image by its own factors.

    Args:
        images: float [N, 3, H, W] in [0, 1].
        augmentation: probability and strengths.
        generator: CPU generator.

    Returns:
        the same shape, in [0, 1].
    """

    def factor(strength: float) -> Tensor:
        return 1 + strength * (2 * _draw(generator, images) - 1)

    chosen = _draw(generator, images) < augmentation.jitter
    out = (images * factor(augmentation.brightness)).clamp(0, 1)
    mean = _luma(out).mean((2, 3), keepdim=True)
    out = (mean + (out - mean) * factor(augmentation.contrast)).clamp(0, 1)
    grey = _luma(out)
    out = (grey + (out - grey) * factor(augmentation.saturation)).clamp(0, 1)
    if augmentation.hue > 0:
        out = _rotate_hue(out, augmentation.hue * (2 * _draw(generator, images) - 1))
    return torch.where(chosen, out, images)


def erase(inputs: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Random erasing: a rectangle of each chosen image is set to 0, the mean colour of normalised input.

    Args:
        inputs: float [N, C, H, W], normalised.
        probability: of an image being chosen.
        generator: CPU generator.
    """
    height, width = inputs.shape[2:]
    draws = torch.rand((5, inputs.shape[0]), generator=generator)
    area = (0.02 + 0.38 * draws[0]) * height * width
    aspect = torch.exp(math.log(3.3) * (2 * draws[1] - 1))
    tall = (area * aspect).sqrt().round().clamp(1, height - 1)
    wide = (area / aspect).sqrt().round().clamp(1, width - 1)
    top = (draws[2] * (height - tall + 1)).floor()
    left = (draws[3] * (width - wide + 1)).floor()
    chosen = draws[4] < probability
    y, x = torch.arange(height), torch.arange(width)
    in_rows = (y >= top[:, None]) & (y < (top + tall)[:, None]) & chosen[:, None]
    in_columns = (x >= left[:, None]) & (x < (left + wide)[:, None])
    holes = (in_rows[:, None, :, None] & in_columns[:, None, None, :]).to(inputs.device)
    return inputs.masked_fill(holes, 0.0)


def _draw(generator: torch.Generator, images: Tensor) -> Tensor:
    return torch.rand((images.shape[0], 1, 1, 1), generator=generator).to(images.device)


def _luma(images: Tensor) -> Tensor:
    """ITU-R 601 luma, [N, 1, H, W]."""
    return 0.299 * images[:, :1] + 0.587 * images[:, 1:2] + 0.114 * images[:, 2:]


def _rotate_hue(images: Tensor, shift: Tensor) -> Tensor:
    """Turns the hue of RGB images in [0, 1] by `shift` [N, 1, 1, 1] turns, through HSV as torchvision does."""
    high, low = images.amax(1, keepdim=True), images.amin(1, keepdim=True)
    span = high - low
    safe = torch.where(span == 0, torch.ones_like(span), span)
    red, green, blue = images[:, :1], images[:, 1:2], images[:, 2:]
    hue = torch.where(
        high == red,
        (green - blue) / safe,
        torch.where(high == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    hue = (hue / 6 + shift) % 1.0
    # HSV to RGB without branches: channel n is v - s v max(0, min(k, 4 - k, 1)) with k = (n + 6 h) mod 6, n = 5, 3, 1.
    k = (torch.tensor([5.0, 3.0, 1.0], device=images.device).view(1, 3, 1, 1) + 6 * hue) % 6
    return high - span * torch.minimum(k, 4 - k).clamp(0, 1)
