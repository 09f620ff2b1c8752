"""What a street camera makes of light: the colours and tone curve of `sensor.develop`, for frames of which most does not change.

Haze, exposure, white balance and saturation are one affine map of colours, and laying a person over a background is linear:
so background and people can be mapped apart. The background is mapped once, and a frame costs no more than its people.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from passerby.data.synthetic.camera import Cameras
from passerby.data.synthetic.draws import Floats
from passerby.data.synthetic.street_sprites import Sprite, Window

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_STEPS = 1024


class StreetCamera:
    """One camera that looks at one place."""

    def __init__(self, view: Floats, cameras: Cameras, seed: int) -> None:
        """Prepares the background.

        Args:
            view: [3, H, W] light without people.
            cameras: one camera.
            seed: of its noise.
        """
        _, self.height, self.width = view.shape
        haze, saturation = cameras.haze[0], cameras.saturation[0]
        exposure = np.diag(cameras.white[0] * cameras.gain[0])
        mix = saturation * np.eye(3, dtype=np.float32) + (1 - saturation) * np.ones((3, 1), np.float32) * _LUMA
        self._map = (mix @ exposure * (1 - haze)).astype(np.float32)
        self._haze = (mix @ exposure @ (haze * cameras.haze_colour[0])).astype(np.float32)
        y = np.linspace(-1, 1, self.height, dtype=np.float32)[:, None] ** 2
        x = np.linspace(-1, 1, self.width, dtype=np.float32)[None, :] ** 2
        self._vignette = (_STEPS - 1) * (1 - cameras.vignette[0] * (0.3 * x + 0.3 * y))
        tone = 255 * np.linspace(0, 1, _STEPS) ** cameras.gamma[0]
        self._tone = np.round(tone).astype(np.uint8)
        self._blur = ImageFilter.GaussianBlur(float(cameras.defocus[0]) * self.height / 640)
        self._noise = (
            np.random.default_rng([seed, 0x5CE]).normal(0, 255 * cameras.noise[0], 2 * self.height * self.width * 3)
        ).astype(np.int8)
        self._linear = np.einsum("ij,jhw->ihw", self._map, view) + self._haze[:, None, None]
        self._shown = self._to_bytes(self._linear, (slice(None), slice(None)))

    def frame(self, people: Sequence[Sprite], rng: np.random.Generator) -> NDArray[np.uint8]:
        """A frame.

        Args:
            people: farthest first.
            rng: decides flicker and noise.

        Returns:
            [H, W, 3] RGB.
        """
        linear, shown = self._linear.copy(), self._shown.copy()
        for person in people:
            patch = linear[:, *person.window]
            patch *= 1 - person.cover
            patch += np.tensordot(self._map, person.light, 1) + self._haze[:, None, None] * person.cover
        for person in people:
            shown[person.window] = self._to_bytes(linear[:, *person.window], person.window)
        soft = np.asarray(Image.fromarray(shown).filter(self._blur))
        start = int(rng.integers(len(self._noise) - soft.size))
        noisy = soft + self._noise[start : start + soft.size].reshape(soft.shape).astype(np.int16)
        noisy += np.int16(np.round(rng.normal(0, 1.5)))  # the exposure is never quite the same
        return np.asarray(noisy.clip(0, 255), np.uint8)

    def _to_bytes(self, linear: Floats, window: Window) -> NDArray[np.uint8]:
        """[h, w, 3] what a display shows of a window of [3, h, w] exposed light."""
        level = (linear.clip(0, 1) * self._vignette[window]).astype(np.int16)
        return np.ascontiguousarray(self._tone[level].transpose(1, 2, 0))
