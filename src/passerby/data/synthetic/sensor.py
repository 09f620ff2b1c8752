"""From light to a file's pixels: haze, exposure, white balance, tone curve, lens, native resolution, noise, JPEG.

Blur and scaling are linear and separable, so the lens of picture n is one matrix for rows and one for columns.
"""

from io import BytesIO

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image

from passerby.data.synthetic.camera import Cameras
from passerby.data.synthetic.draws import Draws, Floats, Ints

_RED, _GREEN, _BLUE = 0.299, 0.587, 0.114  # luma of ITU-R BT.601


def develop(light: Floats, cameras: Cameras, flicker: Floats) -> Floats:
    """Haze, exposure, colours and tone curve.

    Args:
        light: [N, 3, H, W] light from the scene; changed in place.
        cameras: N cameras, one for each picture.
        flicker: [N] exposure of the picture over its camera's.

    Returns:
        [N, 3, H, W] in 0..1, as a display shows it.
    """
    height, width = light.shape[2:]
    haze = cameras.haze[:, None, None, None]
    light *= 1 - haze
    light += haze * cameras.haze_colour[:, :, None, None]
    light *= (cameras.white * (cameras.gain * flicker)[:, None])[:, :, None, None]
    grey = (_RED * light[:, 0] + _GREEN * light[:, 1] + _BLUE * light[:, 2])[:, None]
    light -= grey
    light *= cameras.saturation[:, None, None, None]
    light += grey
    tone = np.clip(light, 0, 1, out=light)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None] ** 2
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :] ** 2
    tone *= (1 - cameras.vignette[:, None, None] * (0.3 * x + 0.3 * y))[:, None]
    return np.power(tone, cameras.gamma[:, None, None, None], out=tone)


def shrink_matrices(size: int, small: Ints, blur: Floats) -> Floats:
    """[N, size, size] each blurs a line of pixels and samples it at `small[n]` pixels; rows beyond them are 0.

    Args:
        size: pixels of the line.
        small: [N] pixels after scaling, at most `size`.
        blur: [N] standard deviation of the lens blur, pixels of the line.
    """
    step = (size / small).astype(np.float32)[:, None, None]
    at = np.arange(size, dtype=np.float32)[None, :, None]
    centre = (at + 0.5) * step - 0.5
    sigma = np.sqrt((0.45 * step) ** 2 + blur[:, None, None] ** 2)
    distance = (np.arange(size, dtype=np.float32) - centre) / sigma
    # Cut the tails: exp of less than -87 is a denormal number, and those slow a matrix product down fortyfold.
    weight = np.exp(-0.5 * (distance * distance).clip(0, 60))
    weight /= weight.sum(axis=2, keepdims=True)
    return weight * (at < small[:, None, None])


def enlarge_matrices(size: int, small: Ints) -> Floats:
    """[N, size, size] each interpolates (linearly) the first `small[n]` pixels of a line at `size` pixels."""
    step = (small / size).astype(np.float32)[:, None, None]
    last = (small - 1).astype(np.float32)[:, None, None]
    centre = ((np.arange(size, dtype=np.float32)[None, :, None] + 0.5) * step - 0.5).clip(0, last)
    weight: Floats = (1 - np.abs(np.arange(size, dtype=np.float32) - centre)).clip(0, 1)
    return weight


def transform(rows: Floats, images: Floats, columns: Floats) -> Floats:
    """[N, 3, H, W] the product `rows[n] @ images[n, c] @ columns[n].T` of each picture and channel.

    Args:
        rows: [N, H, H].
        images: [N, 3, H, W].
        columns: [N, W, W].
    """
    across = _multiply(images, columns.swapaxes(1, 2)[:, None])
    return _multiply(rows[:, None], across)


def _multiply(left: Floats, right: Floats) -> Floats:
    """`left @ right` ([..., p, q] by [..., q, r]) in strips of rows.

    OpenBLAS shares a product of more than 2^18 multiplications between threads of its own. They spin while they wait,
    and on busy cores or beside our own threads that is ten times slower than not sharing.
    """
    p, q, r = *left.shape[-2:], right.shape[-1]
    strip = max((d for d in range(1, p + 1) if p % d == 0 and d * q * r <= 2**18), default=1)
    product = left.reshape(*left.shape[:-2], p // strip, strip, q) @ right[..., None, :, :]
    return product.reshape(*product.shape[:-3], p, r)


def capture(shown: Floats, cameras: Cameras, noise: Floats, draws: Draws) -> NDArray[np.uint8]:
    """Lens, native resolution, noise and JPEG; the picture comes back at the size that went in.

    Args:
        shown: [N, 3, H, W] in 0..1.
        cameras: N cameras, one for each picture.
        noise: a long row of normal numbers, of which each picture takes a stretch.
        draws: of the N pictures.

    Returns:
        [N, H, W, 3] RGB.
    """
    count, _, height, width = shown.shape
    unit = height / 128
    rows = np.round(draws.uniform(cameras.native[:, 0], cameras.native[:, 1]) * unit).astype(np.int64).clip(8, height)
    columns = np.maximum(4, rows * width // height)
    defocus = cameras.defocus * draws.uniform(0.7, 1.3) * np.float32(unit)
    smear = np.hypot(defocus, cameras.motion * draws.uniform(0.0, 2.0) * np.float32(unit))
    small = transform(shrink_matrices(height, rows, defocus), shown, shrink_matrices(width, columns, smear))
    grain = sliding_window_view(noise, small[0].size)[draws.integers(len(noise) - small[0].size)].reshape(small.shape)
    grain *= cameras.noise[:, None, None, None]
    small += grain * (small + 0.5)
    pixels = _bytes(small, 255)
    quality = draws.uniform(cameras.jpeg[:, 0], cameras.jpeg[:, 1]).astype(int)
    for n in range(count):  # a JPEG codec takes one picture at a time
        part = pixels[n, :, : rows[n], : columns[n]].transpose(1, 2, 0)
        buffer = BytesIO()
        Image.fromarray(np.ascontiguousarray(part)).save(buffer, "JPEG", quality=int(quality[n]))
        part[:] = np.asarray(Image.open(buffer))
    planes = pixels.astype(np.float32)
    final = transform(enlarge_matrices(height, rows), planes, enlarge_matrices(width, columns))
    return np.ascontiguousarray(_bytes(final, 1).transpose(0, 2, 3, 1))


def _bytes(values: Floats, white: float) -> NDArray[np.uint8]:
    """Rounds `values`, of which `white` makes 255 when multiplied; they are used up."""
    values *= white
    values += 0.5
    return np.clip(values, 0, 255, out=values).astype(np.uint8)
