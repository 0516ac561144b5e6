"""nnU-Net-style 2-D U-Net, frame by frame: a baseline of SimLVSeg's table 1.

Paper: Isensee et al., "nnU-Net" (Nature Methods 2021), built from MONAI's DynUNet. The plans behind the paper's row (7.37 M,
2.30 GFLOPs) are not public. Five stages of 32, 64, 128, 256 and 480 filters (480 is nnU-Net's cap in 2-D), 3x3 kernels,
stride 2, plain convolutions and instance norm without scale and shift give 7.364 M and 2.304 G; with scale and shift it
would be 7.370 M and 2.307 G.

Shape: images ``(N, 3, Y, X)`` -> logits ``(N, out, Y, X)``; Y and X are multiples of 16.
"""

from __future__ import annotations

from monai.networks.nets import DynUNet
from torch import Tensor, nn

from echolib.models.framewise import FrameWise
from echolib.models.plain_unet2d import FILTERS, check_dimensions
from echolib.models.widths import channels


class NNUNet2D(DynUNet):
    """DynUNet whose layers are registered once.

    MONAI also keeps them in a nested ``skip_layers``, so every tensor would stand in the state dict twice.

    Args:
        width: multiplier of the filter counts.
        out_channels: channels of the output.
    """

    head = ("output_block.",)
    unused = ()

    def __init__(self, *, width: float = 1.0, out_channels: int = 1) -> None:
        stages = len(FILTERS)
        super().__init__(2, 3, out_channels, [3] * stages, [1] + [2] * (stages - 1), [2] * (stages - 1),
                         filters=channels(FILTERS, width), norm_name="instance")
        del self.skip_layers

    def _down(self, images: Tensor) -> list[Tensor]:
        check_dimensions(images)
        maps = [self.input_block(images)]
        for down in (*self.downsamples, self.bottleneck):
            maps.append(down(maps[-1]))
        return maps

    def deepest(self, images: Tensor) -> Tensor:
        """``(N, 3, Y, X)`` -> maps of the last stage ``(N, d, Y/16, X/16)``, d 480 at width 1. ConfigError as :meth:`forward`."""
        return self._down(images)[-1]

    def forward(self, images: Tensor) -> Tensor:
        """``(N, 3, Y, X)`` -> logits ``(N, out, Y, X)``. ConfigError if Y or X is not a multiple of 16."""
        *skips, x = self._down(images)
        for up in self.upsamples:
            x = up(x, skips.pop())
        return self.output_block(x)


def network(name: str, *, width: float, frames: int, size: int, out_channels: int) -> nn.Module:
    """The 2-D U-Net frame by frame, see :func:`echolib.models.build`."""
    return FrameWise(NNUNet2D(width=width, out_channels=out_channels))
