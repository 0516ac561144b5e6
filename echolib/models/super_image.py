"""A clip as one big image (super image), and a 2-D network that segments it.

Paper: SimLVSeg, "2-D SI approach" and figure 3, after Fan et al., "Can an image classifier suffice for action
recognition?" (ICLR 2022) and Sobirov et al., "Super images" (MIUA 2023).

The frames are laid row by row on a sqrt(F) x sqrt(F) grid. The paper writes the image as ``112 sqrt(F)`` px wide; the FLOPs
it prints are those of ``128 sqrt(F)``: each frame is zero-padded to a multiple of 32 px first, so that no cell of the
network's coarsest map straddles two frames. That is the default here; ``multiple=1`` gives the size that the paper writes.

Shape: clip ``(B, 3, F, H, W)`` -> logits ``(B, out, F, H, W)``; F is a square number.
"""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from echolib.errors import ConfigError
from echolib.models.framewise import Wrapped2D

#: px; the total stride of every 2-D encoder used here
STRIDE = 32


def grid_side(frames: int) -> int:
    """sqrt(frames).

    Raises:
        ConfigError: the number of frames is not a square.
    """
    side = round(frames ** 0.5)
    if side < 1 or side * side != frames:
        below, above = max(1, int(frames ** 0.5)), int(frames ** 0.5) + 1
        raise ConfigError(f"a super image lays its frames on a square grid: frames = {frames} is not a square number; "
                          f"{below * below} or {above * above} would be")
    return side


def padded(size: int, multiple: int = STRIDE) -> int:
    """The smallest multiple of ``multiple`` (px) that holds ``size`` (px)."""
    return -(-size // multiple) * multiple


def lay(clip: Tensor, multiple: int = STRIDE) -> Tensor:
    """Pad every frame with zeros (evenly on both sides) and lay the frames on a square grid, row by row.

    Args:
        clip: ``(B, C, F, H, W)``.
        multiple: frame height and width are padded up to a multiple of this, in px.

    Returns:
        ``(B, C, sqrt(F) H', sqrt(F) W')`` with H' and W' the padded height and width.
    """
    batch, channels, frames, height, width = map(int, clip.shape)  # plain integers under a tracer too
    side = grid_side(frames)
    tall, wide = padded(height, multiple), padded(width, multiple)
    top, left = (tall - height) // 2, (wide - width) // 2
    clip = F.pad(clip, (left, wide - width - left, top, tall - height - top))
    cells = clip.reshape(batch, channels, side, side, tall, wide)                 # (B, C, row, column, H', W')
    return cells.permute(0, 1, 2, 4, 3, 5).reshape(batch, channels, side * tall, side * wide)


def cut(image: Tensor, frames: int, height: int, width: int, multiple: int = STRIDE) -> Tensor:
    """Undo :func:`lay`: ``(B, C, sqrt(F) H', sqrt(F) W')`` -> ``(B, C, F, height, width)``."""
    batch, channels = map(int, image.shape[:2])
    side = grid_side(frames)
    tall, wide = padded(height, multiple), padded(width, multiple)
    top, left = (tall - height) // 2, (wide - width) // 2
    cells = image.reshape(batch, channels, side, tall, side, wide).permute(0, 1, 2, 4, 3, 5)
    return cells.reshape(batch, channels, frames, tall, wide)[..., top:top + height, left:left + width].contiguous()


class SuperImage(Wrapped2D):
    """Lay the clip as an image, segment the image, cut the frames back out.

    Args:
        network: 2-D network, ``(B, 3, Y, X)`` -> ``(B, out, Y, X)``, with attributes ``head`` and ``unused``.
        multiple: see :func:`lay`.
    """

    def __init__(self, network: nn.Module, multiple: int = STRIDE) -> None:
        super().__init__(network)
        self.multiple = multiple

    def forward(self, clip: Tensor) -> Tensor:
        """``(B, 3, F, H, W)`` normalised -> logits ``(B, out, F, H, W)``. ConfigError if F is not a square."""
        frames, height, width = map(int, clip.shape[2:])
        return cut(self.network(lay(clip, self.multiple)), frames, height, width, self.multiple)
