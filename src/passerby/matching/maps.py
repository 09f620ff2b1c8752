"""Maps as a matcher takes them: one row of numbers an image, cut into views, scales and places."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from passerby.errors import PasserbyError


@dataclass(frozen=True)
class MapLayout:
    """What a row of features holds: for each view, for each scale, the descriptors of its places.

    Attributes:
        channels: C, length of a descriptor.
        sizes: (height, width) of the map of each scale.
        views: how often the model looks at an image: once, or by each of several experts.
    """

    channels: int
    sizes: tuple[tuple[int, int], ...]
    views: int = 1

    @property
    def places(self) -> tuple[int, ...]:
        """P of each scale."""
        return tuple(height * width for height, width in self.sizes)

    @property
    def width(self) -> int:
        """F, numbers an image."""
        return self.views * sum(self.places) * self.channels

    def row(self, maps: Sequence[Tensor]) -> Tensor:
        """Rows [N, F] of maps.

        Args:
            maps: of each scale, [views, N, C, h, w].

        Raises:
            PasserbyError: for maps of another number, size or width than the layout's.
        """
        self._check(maps)
        return torch.cat([m.flatten(3).permute(1, 0, 3, 2).flatten(2) for m in maps], dim=2).flatten(1)

    def descriptors(self, rows: Tensor, memory: Tensor | None = None) -> list[list[Tensor]]:
        """The descriptors of each view and scale, [N, P, C] contiguous; float32 at least.

        Args:
            rows: [N, F].
            memory: N x F numbers or more that take them, of their dtype, where they shall be; None: fresh memory.

        Raises:
            PasserbyError: for rows of another width than F.
        """
        if rows.ndim != 2 or rows.shape[1] != self.width:
            raise PasserbyError(
                f"matching: features {list(rows.shape)}; this matcher takes rows of {self.width}: {self}. Describe both sides "
                "with the model that the matcher belongs to"
            )
        lengths = [places * self.channels for places in self.places] * self.views
        wide = torch.promote_types(rows.dtype, torch.float32)
        parts = []
        start = 0
        for part in torch.split(rows, lengths, dim=1):
            shape = len(rows), part.shape[1] // self.channels, self.channels
            if memory is None:
                parts.append(part.to(wide).contiguous().view(shape))
            else:
                parts.append(memory[start : start + part.numel()].view(shape))
                parts[-1].flatten(1).copy_(part)
                start += part.numel()
        scales = len(self.sizes)
        return [parts[view * scales : (view + 1) * scales] for view in range(self.views)]

    def _check(self, maps: Sequence[Tensor]) -> None:
        """Raises PasserbyError unless `maps` are [views, N, C, h, w] of each scale."""
        found = [(m.shape[0], *m.shape[2:]) if m.ndim == 5 else tuple(m.shape) for m in maps]
        wanted = [(self.views, self.channels, *size) for size in self.sizes]
        if found != wanted:
            raise PasserbyError(
                f"matching: maps (views, channels, height, width) {found}, but this matcher was built for {wanted}; give images "
                "of the size that the model was built for, and as many experts"
            )

    def __str__(self) -> str:
        """In words."""
        sizes = " and ".join(f"{height} x {width}" for height, width in self.sizes)
        return f"{sizes} places of {self.channels} channels" + (f", seen {self.views} times" if self.views > 1 else "")
