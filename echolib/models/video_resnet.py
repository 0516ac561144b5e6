"""Residual networks of clips that give one number, the ejection fraction: R(2+1)D-18, R3D-18 and MC3-18.

Paper: Tran et al., "A closer look at spatiotemporal convolutions for action recognition" (CVPR 2018); for the ejection
fraction Ouyang et al. (Nature 2020) and CSS (Dai et al., IEEE TMI 2023). The blocks are torchvision's and so are the parameter
names, so that its Kinetics-400 weights load at width 1. The last layer has one output.

A narrow network scales the channels of the stem (64, and 45 between its two convolutions in R(2+1)D) and of the four stages (64,
128, 256, 512); the channels between the two convolutions of a (2+1)D block follow from those of the block as published:
``M = floor(27 a b / (9 a + 3 b))`` for a in and b out.

Shape: clip ``(B, channels, F, H, W)``, channels 3 or, with masks, 4 -> ``(B,)``; any F, H and W from 1 on.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torchvision.models.video.resnet import BasicBlock, Conv2Plus1D, Conv3DNoTemporal, Conv3DSimple, VideoResNet

from echolib.errors import ConfigError
from echolib.models.resnet import STAGES
from echolib.models.widths import channels as scaled

#: Convolution of each stage.
CONVOLUTIONS = {"r2plus1d_18": (Conv2Plus1D,) * 4, "r3d_18": (Conv3DSimple,) * 4,
                "mc3_18": (Conv3DSimple, *(Conv3DNoTemporal,) * 3)}
#: Channels between the two convolutions of R(2+1)D's stem.
STEM_MIDDLE = 45
#: The first convolution: where weights for another number of input channels go.
FIRST = "stem.0.weight"


class VideoRegressor(VideoResNet):
    """A residual network of 18 layers with one output.

    Args:
        name: one of :data:`CONVOLUTIONS`.
        width: multiplier of the channel counts.
        channels: of the input: 3, or 4 with masks.
        spread: what the output's unit stands for, in points of EF. 1 as published; a network that starts from random weights
            learns faster where a unit is about the standard deviation of the ejection fractions.
    """

    head = ("fc.",)
    unused = ()

    def __init__(self, name: str, *, width: float = 1.0, channels: int = 3, spread: float = 1.0) -> None:
        if channels not in (3, 4):
            raise ConfigError(f"{name}: channels = {channels}; expected 3, or 4 with masks")
        if not spread > 0:
            raise ConfigError(f"{name}: spread = {spread}; expected points of EF, above 0")
        nn.Module.__init__(self)  # VideoResNet.__init__ would build the full-width layers
        self.spread = spread
        widths = scaled(STAGES, width, least=8)
        self.inplanes = widths[0]
        self.stem = _stem(name, channels, scaled((STEM_MIDDLE,), width, least=8)[0], widths[0])
        for number, (maker, planes) in enumerate(zip(CONVOLUTIONS[name], widths, strict=True), start=1):
            setattr(self, f"layer{number}", self._make_layer(BasicBlock, maker, planes, 2, stride=1 if number == 1 else 2))
        self.avgpool = nn.AdaptiveAvgPool3d(1)
        self.fc = nn.Linear(widths[-1], 1)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                module.__class__ = nn.Conv3d  # torchvision's own classes compute the same, but the engine spares none but these
        nn.init.normal_(self.fc.weight, 0, 0.01)
        nn.init.zeros_(self.fc.bias)

    def forward(self, clip: Tensor) -> Tensor:
        """``(B, channels, F, H, W)`` normalised -> ``(B,)``, the ejection fraction in %."""
        return super().forward(clip)[:, 0] * self.spread

    @torch.no_grad()
    def centre(self, value: float) -> None:
        """Let the network give this number (%) until it has learnt something: the last layer's bias."""
        self.fc.bias.fill_(value / self.spread)


def _stem(name: str, channels: int, middle: int, out: int) -> nn.Sequential:
    if name == "r2plus1d_18":
        return nn.Sequential(nn.Conv3d(channels, middle, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False), nn.BatchNorm3d(middle),
                             nn.ReLU(inplace=True), nn.Conv3d(middle, out, (3, 1, 1), 1, (1, 0, 0), bias=False),
                             nn.BatchNorm3d(out), nn.ReLU(inplace=True))
    return nn.Sequential(nn.Conv3d(channels, out, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False), nn.BatchNorm3d(out),
                         nn.ReLU(inplace=True))


def with_channels(state: Mapping[str, Tensor], channels: int, generator: torch.Generator | None = None) -> dict[str, Tensor]:
    """Weights of such a network for another number of input channels.

    Args:
        state: weights for 3 or 4 channels.
        channels: 3 drops the fourth channel; 4 keeps the first three and draws the fourth from U(-1, 1), as the released program
            of CSS does (about ten times larger than Kinetics weights, so that the mask dominates at first).
        generator: of that draw.
    """
    first, out = state[FIRST], dict(state)
    if channels > first.shape[1]:
        more = torch.rand(first.shape[0], channels - first.shape[1], *first.shape[2:], generator=generator) * 2 - 1
        out[FIRST] = torch.cat([first, more.to(first.dtype)], 1)
    else:
        out[FIRST] = first[:, :channels].clone()
    return out


def network(name: str, *, width: float, frames: int, size: int, out_channels: int, **options: object) -> nn.Module:
    """One of the three; ``options`` are ``channels`` and ``spread``, see :func:`echolib.models.build`."""
    return VideoRegressor(name, width=width, **options)
