"""The 3D U-Net with every frame normalised by itself (``unet3d_frames``): of no paper, to ask what instance norm over time does.

SimLVSeg's 3D U-Net normalises each channel over frames and pixels together, so what one frame holds shifts and scales all the
others: one bright or black frame reaches the whole clip through every norm. Here mean and variance are those of a frame. The
convolutions, and so the parameters, are the same: weights of either load into the other.

Shape: clip ``(B, 3, F, H, W)`` -> logits ``(B, out, F, H, W)``; F, H and W are multiples of 16.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from echolib.errors import ConfigError
from echolib.models.unet3d import DIVISOR, UNITS, UNet3D, check_dimensions


class FrameNorm(nn.Module):
    """Instance norm without scale and shift, over the pixels of one frame.

    Args:
        eps: added to the variance.
    """

    def __init__(self, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, F, H, W)`` -> the same shape; each ``(H, W)`` has mean 0 and variance 1."""
        batch, _, frames = x.shape[:3]
        each = x.transpose(1, 2).flatten(0, 1)                                          # (B F, C, H, W)
        return F.instance_norm(each, eps=self.eps).unflatten(0, (batch, frames)).transpose(1, 2)


class UNet3DFrames(UNet3D):
    """:class:`~echolib.models.unet3d.UNet3D` with a :class:`FrameNorm` wherever it has an instance norm; same arguments."""

    def __init__(self, units: tuple[int, ...] = UNITS["unet3d"], *, width: float = 1.0, in_channels: int = 3,
                 out_channels: int = 1) -> None:
        super().__init__(units, width=width, in_channels=in_channels, out_channels=out_channels)
        for module in list(self.modules()):
            for name, child in module.named_children():
                if isinstance(child, nn.InstanceNorm3d):
                    setattr(module, name, FrameNorm(child.eps))

    def forward(self, clip: Tensor) -> Tensor:
        """As the 3D U-Net; ConfigError as well if the deepest level would hold a single pixel of a frame."""
        if clip.shape[3] == clip.shape[4] == DIVISOR:
            raise ConfigError(f"frames of {DIVISOR}x{DIVISOR} px leave one pixel of a frame at the deepest level, which a norm "
                              "of each frame cannot normalise; give larger frames")
        return super().forward(clip)


def network(name: str, *, width: float, frames: int, size: int, out_channels: int) -> nn.Module:
    """The network, see :func:`echolib.models.build`."""
    check_dimensions(frames, size, size)
    return UNet3DFrames(width=width, out_channels=out_channels)
