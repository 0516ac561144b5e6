"""3D U-Net with residual units: SimLVSeg-3D (``unet3d``) and its shallower variant (``unet3d_s``).

Paper: Maani et al., SimLVSeg, figure 4 and table 2; the residual unit is that of Kerfoot et al., "Left-ventricle
quantification using residual U-Net" (STACOM 2018), as MONAI provides it. Time is the first spatial axis.

Shape: clip ``(B, 3, F, H, W)`` -> logits ``(B, out, F, H, W)``; F, H and W are multiples of 16.
"""

from __future__ import annotations

import torch
from monai.networks.blocks import Convolution, ResidualUnit
from torch import Tensor, nn

from echolib.errors import ConfigError
from echolib.models.widths import channels

CHANNELS = (16, 32, 64, 128, 256)
UNITS = {"unet3d": (2, 3, 4, 6, 3), "unet3d_s": (2, 2, 2, 2, 2)}

#: Four poolings by two, in time as in space.
DIVISOR = 16


class UNet3D(nn.Module):
    """Five encoder levels of residual units, four up-steps of transposed convolution + concatenation + one residual unit.

    The parameter names (``encoder1..5.<unit>``, ``upconv5..2``, ``decoder4..1``) are those of the released checkpoints.

    Args:
        units: residual units of each encoder level, top (full resolution) first.
        width: multiplier of the channel counts (16, 32, 64, 128, 256).
        in_channels: channels of the clip.
        out_channels: channels of the output (1 logit map; 3 to reconstruct a colour clip).
    """

    #: parameters that depend on ``out_channels``: the last residual unit works at the output's channel count
    head = ("decoder1.",)
    #: parameters that the forward pass never reads
    unused = ()

    def __init__(self, units: tuple[int, ...] = UNITS["unet3d"], *, width: float = 1.0, in_channels: int = 3,
                 out_channels: int = 1) -> None:
        super().__init__()
        widths = channels(CHANNELS, width, least=2)
        before = in_channels
        for level, (count, after) in enumerate(zip(units, widths, strict=True), start=1):
            first = ResidualUnit(3, before, after, subunits=2)
            rest = (ResidualUnit(3, after, after, subunits=2) for _ in range(count - 1))
            setattr(self, f"encoder{level}", nn.Sequential(first, *rest))
            before = after
        self.pool = nn.MaxPool3d(2)
        for level in (5, 4, 3, 2):
            below, here = widths[level - 1], widths[level - 2]
            setattr(self, f"upconv{level}", Convolution(3, below, here, strides=2, is_transposed=True))
            last = level == 2  # the output is a logit: no norm and no activation after its last convolution
            setattr(self, f"decoder{level - 1}",
                    ResidualUnit(3, 2 * here, out_channels if last else here, subunits=2, last_conv_only=last))

    def forward(self, clip: Tensor) -> Tensor:
        """Segment a clip.

        Args:
            clip: ``(B, 3, F, H, W)`` float, normalised.

        Returns:
            logits ``(B, out, F, H, W)``.

        Raises:
            ConfigError: a dimension is not a multiple of 16, or the deepest level would hold a single voxel.
        """
        check_dimensions(*map(int, clip.shape[2:]))
        skips = []
        x = clip
        for level in (1, 2, 3, 4, 5):
            x = getattr(self, f"encoder{level}")(x)
            if level < 5:
                skips.append(x)
                x = self.pool(x)  # (B, C, F, H, W) -> (B, C, F/2, H/2, W/2)
        for level in (5, 4, 3, 2):
            x = getattr(self, f"upconv{level}")(x)
            x = getattr(self, f"decoder{level - 1}")(torch.cat((x, skips.pop()), dim=1))
        return x


def check_dimensions(frames: int, height: int, width: int) -> None:
    """Raise a ConfigError that names the dimension which four poolings cannot divide.

    The network is never padded in secret: black frames or borders would change every instance norm. A shorter clip is
    padded with black frames where clips are chosen (``data.clips``), so the shortest possible clip is 16 frames.
    """
    for name, value in (("frames", frames), ("height", height), ("width", width)):
        if value < DIVISOR or value % DIVISOR:
            up = max(1, -(-value // DIVISOR)) * DIVISOR
            raise ConfigError(f"the 3D U-Net pools four times by two in time and space: {name} = {value} is not a multiple of "
                              f"{DIVISOR}; the next one that fits is {up}")
    if frames * height * width == DIVISOR ** 3:
        raise ConfigError("a clip of 16 frames of 16x16 px leaves one voxel at the deepest level, which instance norm cannot "
                          "normalise; give larger frames or more of them")


def network(name: str, *, width: float, frames: int, size: int, out_channels: int) -> nn.Module:
    """The 3D U-Net or its small form, see :func:`echolib.models.build`."""
    check_dimensions(frames, size, size)
    return UNet3D(UNITS[name], width=width, out_channels=out_channels)
