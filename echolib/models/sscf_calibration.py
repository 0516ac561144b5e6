"""Adaptive spatiotemporal semantic calibration (ASSC) of SSCF: a neighbour's features brought to the current frame's.

Paper: Wu, Liu et al., "Semi-supervised segmentation of echocardiography videos via noise-resilient spatiotemporal semantic
calibration and fusion" (Medical Image Analysis 2022), section 3.2, eq. 1-3. Neighbour and current map are each transformed,
summarised by maximum pooling to 84 numbers a channel and correlated channel by channel; the sigmoid A of the correlations and a
learned matrix G make a 3x3 convolution kernel W = A x G for every sample, with which the neighbour is convolved.

As released, G starts as ones: every channel of the calibrated map is then the same box sum over all channels of the neighbour,
10^4 to 10^6 times the current frame's features. ``calibration="normalised"``, our deviation, divides W by its size at that start.

The product and the convolution are both linear, so the neighbour may be convolved with G first, the same for all samples, and
mixed by A after: 9 C^3 multiplications a sample fewer. ``explicit=True`` forms W, as the released network does.

Shape: neighbour and current ``(N, C, h, w)`` -> ``(N, C, h, w)``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from echolib.errors import ConfigError

#: Sides of the maps that maximum pooling summarises a channel to; 84 numbers together.
POOLS = (1, 3, 5, 7)


def summarised(features: Tensor) -> Tensor:
    """``(N, C, h, w)`` -> ``(N, C, 84)``: adaptive maximum pooling to 1, 9, 25 and 49 numbers a channel (eq. 2)."""
    return torch.cat([F.adaptive_max_pool2d(features, side).flatten(2) for side in POOLS], 2)


class Calibration(nn.Module):
    """One direction of one level.

    Args:
        channels: C.
        normalised: divide W so that the calibrated map has the neighbour's scale (ours).
        elementwise: read "A x G" as a product element by element, not of matrices.
        dilations: rates of the convolutions with W, whose results are added (the paper has several, the released network one).
        padded: pad before the transformations; without, they need maps of at least 3x3, and of 3x3 one pixel is left.
        temperature: what the correlations are multiplied by; 1 in the paper, where most of them saturate the sigmoid.
        explicit: form the kernels W.
    """

    def __init__(self, channels: int, *, normalised: bool = False, elementwise: bool = False, dilations: tuple[int, ...] = (1,),
                 padded: bool = False, temperature: float = 1.0, explicit: bool = False) -> None:
        super().__init__()
        self.query, self.key = (nn.Conv2d(channels, channels, 3, padding=int(padded)) for _ in range(2))
        self.motion = nn.Parameter(torch.ones(channels, channels, 3, 3))             # G
        self.normalised, self.elementwise, self.dilations = normalised, elementwise, dilations
        self.temperature, self.explicit = temperature, explicit or elementwise
        self.least = 1 if padded else 3

    def attention(self, neighbour: Tensor, current: Tensor) -> Tensor:
        """A, ``(N, C, C)`` in [0, 1]: row by channel of the neighbour, column by channel of the current map.

        Raises:
            ConfigError: the maps are too small for the transformations.
        """
        if min(current.shape[-2:]) < self.least:
            raise ConfigError(f"the calibration's transformations need maps of 3x3, this one is {current.shape[-2]}x"
                              f"{current.shape[-1]}; expected frames of at least 48 px, or the option padded")
        query, key = summarised(self.query(neighbour)), summarised(self.key(current))  # (N, C, 84)
        return (self.temperature * (query @ key.transpose(1, 2))).sigmoid()

    def kernels(self, attention: Tensor) -> Tensor:
        """W = A x G, ``(N, C, C, 3, 3)``: by channel made, channel taken, tap (eq. 3)."""
        if self.elementwise:
            return attention[..., None, None] * self.motion
        return (attention @ self.motion.flatten(1)).view(-1, *self.motion.shape)

    def forward(self, neighbour: Tensor, current: Tensor) -> Tensor:
        batch, channels, height, width = neighbour.shape
        attention = self.attention(neighbour, current)
        if self.explicit:
            weight = self.kernels(attention).flatten(0, 1)                          # (N C, C, 3, 3), a group a sample
            stacked = neighbour.reshape(1, batch * channels, height, width)
            out = sum(F.conv2d(stacked, weight, padding=rate, dilation=rate, groups=batch) for rate in self.dilations)
            out = out.view(neighbour.shape)
        else:
            moved = sum(F.conv2d(neighbour, self.motion, padding=rate, dilation=rate) for rate in self.dilations)
            out = (attention @ moved.flatten(2)).view(neighbour.shape)
        if self.normalised:
            terms = 9 * len(self.dilations) * channels * (1 if self.elementwise else channels)
            out = out / (terms * attention.mean((1, 2))).clamp(min=1e-6).view(-1, 1, 1, 1)
        return out
