"""The nnU-Net-style 2-D U-Net of :mod:`echolib.models.nnunet` in plain PyTorch, for the network of the package's default weights.

Layer by layer MONAI's DynUNet as ``NNUNet2D`` builds it, with the same names in the state dict (a test loads the weights of
either into the other and compares what they give). It stands here because importing MONAI, whose package imports all of its
applications, would take most of the time in which ``echolib segment`` gets ready.

Shape: images ``(N, in, Y, X)`` -> logits ``(N, out, Y, X)``; Y and X are multiples of 16.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from echolib.errors import ConfigError
from echolib.models.neighbours import OFFSETS, WithNeighbours
from echolib.models.widths import channels

FILTERS = (32, 64, 128, 256, 480)
DIVISOR = 16
SLOPE = 0.01


class _Convolution(nn.Module):
    """MONAI's wrapper of a convolution: the parameters are called ``conv.weight`` and ``conv.bias``."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class _Block(nn.Module):
    """Twice: 3x3 convolution, instance norm without scale and shift, leaky ReLU."""

    def __init__(self, inside: int, outside: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = _Convolution(nn.Conv2d(inside, outside, 3, stride, 1, bias=False))
        self.conv2 = _Convolution(nn.Conv2d(outside, outside, 3, 1, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        for conv in (self.conv1, self.conv2):
            x = F.leaky_relu(F.instance_norm(conv(x)), SLOPE, inplace=True)
        return x


class _Up(nn.Module):
    """Double the size, put the skip beside it, a block."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.transp_conv = _Convolution(nn.ConvTranspose2d(inside, outside, 2, 2, bias=False))
        self.conv_block = _Block(2 * outside, outside)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.conv_block(torch.cat([self.transp_conv(x), skip], 1))


class PlainUNet2D(nn.Module):
    """See the head of this file.

    Args:
        width: multiplier of the filter counts.
        in_channels: channels of the images.
        out_channels: channels of the output.
    """

    head = ("output_block.",)
    unused = ()

    def __init__(self, *, width: float = 1.0, in_channels: int = 3, out_channels: int = 1) -> None:
        super().__init__()
        sizes = channels(FILTERS, width)
        self.input_block = _Block(in_channels, sizes[0])
        self.downsamples = nn.ModuleList(_Block(a, b, 2) for a, b in zip(sizes[:-2], sizes[1:-1], strict=True))
        self.bottleneck = _Block(sizes[-2], sizes[-1], 2)
        self.upsamples = nn.ModuleList(_Up(b, a) for a, b in zip(sizes[-2::-1], sizes[:0:-1], strict=True))
        self.output_block = nn.Module()
        self.output_block.conv = _Convolution(nn.Conv2d(sizes[0], out_channels, 1))
        self.apply(_initialise)

    def forward(self, images: Tensor) -> Tensor:
        """``(N, in, Y, X)`` -> logits ``(N, out, Y, X)``. ConfigError if Y or X is not a multiple of 16."""
        check_dimensions(images)
        skips = [self.input_block(images)]
        for down in self.downsamples:
            skips.append(down(skips[-1]))
        x = self.bottleneck(skips[-1])
        for up in self.upsamples:
            x = up(x, skips.pop())
        return self.output_block.conv(x)


def check_dimensions(images: Tensor) -> None:
    """ConfigError if Y or X of ``(N, in, Y, X)`` is not a multiple of 16."""
    for name, value in zip(("height", "width"), map(int, images.shape[2:]), strict=True):
        if value % DIVISOR:
            raise ConfigError(f"the 2-D U-Net halves its input four times: {name} = {value} is not a multiple of {DIVISOR}")


def _initialise(layer: nn.Module) -> None:
    """nnU-Net's rule: He's normal for the leaky ReLU, no bias."""
    if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.kaiming_normal_(layer.weight, a=SLOPE)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def network(name: str, *, width: float, frames: int, size: int, out_channels: int) -> nn.Module:
    """The U-Net on each frame with its neighbours, see :func:`echolib.models.build`."""
    seen = OFFSETS[name]
    return WithNeighbours(PlainUNet2D(width=width, in_channels=len(seen), out_channels=out_channels), seen)
