"""SSCF: the middle one of k successive frames, its features joined by those of its neighbours after calibration.

Paper: Wu, Liu et al., "Semi-supervised segmentation of echocardiography videos via noise-resilient spatiotemporal semantic
calibration and fusion" (Medical Image Analysis 2022). Each place in the window has an encoder of its own (TCE, temporal
context-aware encoders); at four levels every neighbour's map is calibrated to the current frame's
(:mod:`echolib.models.sscf_calibration`) and a 1x1 convolution joins them (BSSF, bi-directional fusion); a decoder follows.

Defaults are the released network's: one dilation, a decoder as LinkNet's with added skips. The paper has a U-Net decoder and
several dilation rates, which it does not name. k is the number of frames that the network is built for, 1, 3, ..., 11.

===============  ==============================================================  ====================================
``sscf``         k encoders, calibration, fusion                                 Baseline + TCE + BSSF
``sscf_tce``     k encoders, fusion of the maps as they are                      Baseline + TCE
``sscf_bssf``    one encoder for all places, calibration, fusion                 Baseline + BSSF
``sscf_base``    one encoder of the k frames stacked as channels, nothing joined  Baseline; U-Net without a mean teacher
===============  ==============================================================  ====================================

The last three rows are our reading; the text names them and gives no figure.

Shape: clip ``(B, 3, F, H, W)`` -> logits ``(B, out, F, H, W)``, any F >= 1, H and W multiples of 16. Every frame is the middle of
its own window; the first and last frame of the clip stand in for the neighbours that it lacks.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from echolib.config.parsing import parse
from echolib.config.specs import Strict
from echolib.errors import ConfigError
from echolib.models.resnet import ResNetEncoder
from echolib.models.sscf_calibration import Calibration
from echolib.models.widths import channels

STRIDE = 16
#: Largest window (Table 5).
LONGEST = 11
VARIANTS = {"sscf": {}, "sscf_tce": {"calibrate": False}, "sscf_bssf": {"encoders": "shared"},
            "sscf_base": {"encoders": "stacked", "calibrate": False}}
#: What the paper's text says where the released network does something else; which dilation rates is our guess.
PAPER = {"decoder": "unet", "dilations": (1, 2)}


class SSCFOptions(Strict):
    """Constructor options; the defaults are the released network. See :class:`~echolib.models.sscf_calibration.Calibration`."""

    encoders: Literal["separate", "shared", "stacked"] = "separate"
    calibrate: bool = True
    calibration: Literal["released", "normalised"] = "released"
    product: Literal["matrix", "elementwise"] = "matrix"
    dilations: tuple[int, ...] = Field((1,), min_length=1)
    padded: bool = Field(False, description="pad before the calibration's transformations: for frames below 64 px")
    temperature: float = Field(1.0, gt=0)
    explicit: bool = Field(False, description="form every sample's kernel, as released; the same result")
    decoder: Literal["link", "unet"] = "link"

    @model_validator(mode="after")
    def _check(self) -> SSCFOptions:
        if self.encoders == "stacked" and self.calibrate:
            raise ValueError("frames stacked as channels have no maps of their own to calibrate: 'calibrate' must be false")
        return self


class Encoder(ResNetEncoder):
    """ResNet-18 without maximum pooling: ``(N, inside, Y, X)`` -> four maps at strides 2, 4, 8 and 16."""

    def __init__(self, inside: int, width: float) -> None:
        super().__init__(BasicBlock, (2, 2, 2, 2), width=width)
        self.conv1 = nn.Conv2d(inside, self.conv1.out_channels, 7, stride=2, padding=3, bias=False)

    def forward(self, image: Tensor) -> list[Tensor]:
        x, maps = self.relu(self.bn1(self.conv1(image))), []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            maps.append(x)
        return maps


class LinkUp(nn.Sequential):
    """LinkNet's step (Chaurasia and Culurciello 2017): twice the size; the skip is added by the caller."""

    def __init__(self, inside: int, outside: int) -> None:
        middle = inside // 4
        super().__init__(
            nn.Conv2d(inside, middle, 1), nn.BatchNorm2d(middle), nn.ReLU(),
            nn.ConvTranspose2d(middle, middle, 3, stride=2, padding=1, output_padding=1), nn.BatchNorm2d(middle), nn.ReLU(),
            nn.Conv2d(middle, outside, 1), nn.BatchNorm2d(outside), nn.ReLU())


class UNetUp(nn.Module):
    """U-Net's step: transposed 2x2, the skip beside it, two 3x3 convolutions with batch norm."""

    def __init__(self, inside: int, outside: int, skip: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(inside, outside, 2, stride=2)
        self.join = nn.Sequential(
            nn.Conv2d(outside + skip, outside, 3, padding=1, bias=False), nn.BatchNorm2d(outside), nn.ReLU(),
            nn.Conv2d(outside, outside, 3, padding=1, bias=False), nn.BatchNorm2d(outside), nn.ReLU())

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        x = self.up(x)
        return self.join(x if skip is None else torch.cat([x, skip], 1))


class SSCF(nn.Module):
    """See the head of this file.

    Args:
        window: k.
        width: multiplier of the channel counts.
        out_channels: channels of the output.
        options: see :class:`SSCFOptions`.

    Attributes:
        reach: (k - 1) / 2, how many frames before and after a frame change its logits.
        one_frame: the forward pass can be asked for one frame of each clip (``at``).
        any_length: clips may have any number of frames, whatever k.

    Raises:
        ConfigError: k is even or out of range.
    """

    one_frame = any_length = True
    head, unused = ("top.2.",), ()

    def __init__(self, window: int, *, width: float = 1.0, out_channels: int = 1, options: SSCFOptions | None = None) -> None:
        super().__init__()
        options = options or SSCFOptions()
        if window % 2 == 0 or not 1 <= window <= LONGEST:
            raise ConfigError(f"SSCF segments the middle one of k frames: k = {window}; expected an odd number up to {LONGEST}")
        self.options, self.reach = options, window // 2
        stacked = options.encoders == "stacked"
        self.encoders = nn.ModuleList(Encoder(window if stacked else 1, width)
                                      for _ in range(window if options.encoders == "separate" else 1))
        levels = self.encoders[0].channels[1:]
        self.neighbours = [place for place in range(window) if place != self.reach]
        self.calibrations = nn.ModuleList(nn.ModuleList(
            Calibration(count, normalised=options.calibration == "normalised", elementwise=options.product == "elementwise",
                        dilations=options.dilations, padded=options.padded, temperature=options.temperature,
                        explicit=options.explicit) for _ in self.neighbours) for count in levels if options.calibrate)
        self.fusions = nn.ModuleList(nn.Sequential(nn.Conv2d(window * count, count, 1, bias=False), nn.BatchNorm2d(count))
                                     for count in levels if not stacked)
        (last,) = channels((32,), width)
        outsides, skips = (*levels[-2::-1], last), (*levels[-2::-1], 0)
        self.ups = nn.ModuleList(LinkUp(a, b) if options.decoder == "link" else UNetUp(a, b, skip)
                                 for a, b, skip in zip(levels[::-1], outsides, skips, strict=True))
        self.top = nn.Sequential(nn.Conv2d(last, last, 3, padding=1), nn.ReLU(), nn.Conv2d(last, out_channels, 3, padding=1))

    @property
    def encoder(self) -> nn.Module:
        """The part that ImageNet weights belong to."""
        return self.encoders

    def adapt(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """An ImageNet encoder's weights for all encoders; each keeps its own stem (released)."""
        return {f"{place}.{name}": own.conv1.weight.detach() if name == "conv1.weight" else tensor
                for place, own in enumerate(self.encoders) for name, tensor in state.items()}

    def forward(self, clip: Tensor, *, at: Tensor | None = None) -> Tensor:
        """Segment every frame of a clip, or one.

        Args:
            clip: ``(B, 3, F, H, W)`` normalised, three equal channels.
            at: ``(B,)`` int64, the one position of each clip that is wanted; None: all.

        Returns:
            logits ``(B, out, F, H, W)``; with ``at`` ``(B, out, 1, H, W)``.

        Raises:
            ConfigError: H or W is not a multiple of 16.
        """
        batch, _, length, height, width = map(int, clip.shape)
        for what, value in (("height", height), ("width", width)):
            if value % STRIDE:
                raise ConfigError(f"SSCF halves its input four times: {what} = {value} is not a multiple of {STRIDE}")
        places = torch.arange(length, device=clip.device).expand(batch, -1) if at is None else at[:, None]
        offsets = torch.arange(-self.reach, self.reach + 1, device=clip.device)
        windows = (places[..., None] + offsets).clamp(0, length - 1)                # (B, P, k)
        of_clip = torch.arange(batch, device=clip.device)[:, None]
        grey = clip[:, 1]                                                           # (B, F, H, W)
        fused = self._joined(grey, windows, of_clip)
        x = fused[-1]
        for up, skip in zip(self.ups, (*fused[-2::-1], None), strict=True):
            if self.options.decoder == "unet":
                x = up(x, skip)
            else:
                x = up(x) if skip is None else up(x) + skip
        logits = self.top(x)                                                        # (B P, out, H, W)
        return logits.reshape(batch, -1, *logits.shape[1:]).transpose(1, 2).contiguous()

    def _joined(self, grey: Tensor, windows: Tensor, of_clip: Tensor) -> list[Tensor]:
        """The maps that the decoder starts from, ``(B P, C, h, w)`` each, finest first."""
        batch, places, count = windows.shape
        if self.options.encoders == "stacked":
            return self.encoders[0](grey[of_clip[..., None], windows].flatten(0, 1))
        if self.options.encoders == "separate":
            images = [grey[of_clip, windows[..., place]].reshape(-1, 1, *grey.shape[2:]) for place in range(count)]
            maps = [encoder(one) for encoder, one in zip(self.encoders, images, strict=True)]
        else:  # every frame once
            if places == 1:
                grey, windows = grey[of_clip, windows[:, 0]], torch.arange(count, device=grey.device).expand(batch, 1, -1)
            whole = [one.unflatten(0, (batch, -1)) for one in self.encoders[0](grey.reshape(-1, 1, *grey.shape[2:]))]
            maps = [[one[of_clip, windows[..., place]].flatten(0, 1) for one in whole] for place in range(count)]
        fused = []
        for level, fusion in enumerate(self.fusions):
            current, row = maps[self.reach][level], [one[level] for one in maps]
            if self.options.calibrate:
                for place, calibration in zip(self.neighbours, self.calibrations[level], strict=True):
                    row[place] = calibration(row[place], current)
            fused.append(fusion(torch.cat(row, 1)))
        return fused


def network(name: str, *, width: float, frames: int, size: int, out_channels: int, **options: object) -> nn.Module:
    """SSCF of ``frames`` frames with its :class:`SSCFOptions`, see :func:`echolib.models.build`."""
    chosen = parse(SSCFOptions, {**VARIANTS[name], **options}, name)
    if size % STRIDE:
        raise ConfigError(f"{name} halves its input four times: size = {size} is not a multiple of {STRIDE}")
    if chosen.calibrate and not chosen.padded and size < 3 * STRIDE:
        raise ConfigError(f"{name} needs frames of at least {3 * STRIDE} px, size = {size}; the option padded takes smaller ones")
    return SSCF(frames, width=width, out_channels=out_channels, options=chosen)
