"""Contrast-limited adaptive histogram equalisation (CLAHE) of many frames at once, and the lightness that it works on.

Zuiderveld, "Contrast limited adaptive histogram equalization", Graphics Gems IV (1994), with the rounding rules of
OpenCV's ``createCLAHE``: frames on the CPU go through OpenCV itself (ten times faster there), frames on another device
through :func:`clahe_batched`, and the tests hold the two equal. Frames are equalised in the lightness L* of CIE L*a*b*
(sRGB, white = equal channels), as the common augmentation libraries do; hue and chroma stay. A grey frame (equal
channels) has a* = b* = 0, so one channel carries the whole computation.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

BINS = 256
#: sRGB primaries to CIE XYZ (IEC 61966-2-1), each row divided by its sum: equal channels give X = Y = Z.
_XYZ = torch.tensor([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]],
                    dtype=torch.float64)
_XYZ /= _XYZ.sum(1, keepdim=True)
_RGB = torch.linalg.inv(_XYZ)
_KNEE = 6 / 29  # where CIE's cube root turns into a straight line


def clahe_levels(levels: Tensor, clip_limit: float | list[float], tiles: int = 8) -> Tensor:
    """Equalise frames of 256 levels.

    Args:
        levels: ``(N, H, W)`` integers, 0-255; each frame for itself.
        clip_limit: OpenCV's: a bin may hold this many times the count of a flat histogram. A list: one limit a frame.
        tiles: the frame is cut into ``tiles x tiles`` (edges reflected when they do not divide H and W).

    Returns:
        ``(N, H, W)`` int64, 0-255, on the device of ``levels``.
    """
    if levels.device.type != "cpu":
        return clahe_batched(levels.long(), clip_limit, tiles)
    engine, out = cv2.createCLAHE(2.0, (tiles, tiles)), []
    for frame, limit in zip(levels.to(torch.uint8).numpy(), _per_frame(clip_limit, len(levels)), strict=True):
        engine.setClipLimit(limit)
        out.append(engine.apply(frame))
    return torch.from_numpy(np.stack(out)).long()


def _per_frame(clip_limit: float | list[float], count: int) -> list[float]:
    return clip_limit if isinstance(clip_limit, list) else [clip_limit] * count


def clahe_batched(levels: Tensor, clip_limit: float | list[float], tiles: int = 8) -> Tensor:
    """:func:`clahe_levels` for all frames at once, on any device; ``levels`` int64. The host never waits for the device."""
    n, height, width = levels.shape
    padded = levels
    if height % tiles or width % tiles:  # both edges grow, also the one that divides: OpenCV's rule
        grown = (0, tiles - width % tiles, 0, tiles - height % tiles)
        padded = F.pad(levels[:, None].float(), grown, mode="reflect")[:, 0].long()
    high, wide = padded.shape[1] // tiles, padded.shape[2] // tiles
    area = high * wide
    # Histogram of every tile of every frame: whole numbers, so their order of addition does not matter.
    cut = padded.view(n, tiles, high, tiles, wide).transpose(2, 3).reshape(n * tiles**2, area)
    counts = torch.zeros(n * tiles**2, BINS, dtype=torch.int64, device=levels.device)
    counts.scatter_add_(1, cut, torch.ones((), dtype=torch.int64, device=levels.device).expand_as(cut))
    counts = counts.view(n, tiles**2, BINS)
    # Cut what is above the limit and deal it out evenly; the remainder goes to bins at equal steps, from the first on.
    limits = torch.tensor([max(int(limit * area / BINS), 1) for limit in _per_frame(clip_limit, n)])
    limit = to_device(limits, levels.device).view(n, 1, 1)
    excess = (counts - limit).clamp_(min=0).sum(-1, keepdim=True)
    even, rest = excess // BINS, excess % BINS
    step = BINS // rest.clamp(min=1)
    bins = torch.arange(BINS, device=levels.device)
    counts = counts.minimum(limit) + even + ((bins % step == 0) & (bins // step < rest))
    table = (counts.cumsum(-1).float() * ((BINS - 1) / area)).round_().clamp_(max=BINS - 1)
    # Each pixel: bilinear mixture of the tables of its four nearest tile centres.
    top, low, down = _neighbours(height, high, tiles, levels.device)
    left, far, across = _neighbours(width, wide, tiles, levels.device)
    table = table.view(-1)
    base = torch.arange(n, device=levels.device)[:, None, None] * tiles**2
    look = [table[(base + row[:, None] * tiles + column) * BINS + levels] for row in (top, low) for column in (left, far)]
    down = down[:, None]
    upper = look[0] * (1 - across) + look[1] * across
    lower = look[2] * (1 - across) + look[3] * across
    return (upper * (1 - down) + lower * down).round_().long()


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on ``device``, without waiting for the copy: from pinned memory where there is a GPU."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@cache
def _matrix(name: str, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A colour matrix on its device; copied once, for a copy makes the host wait."""
    return {"to_xyz": _XYZ, "to_rgb": _RGB}[name].to(device, dtype)


def _neighbours(size: int, tile: int, tiles: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """For every pixel of a row: the tile before, the tile after, and the weight of the one after."""
    place = torch.arange(size, device=device, dtype=torch.float32) * (1 / tile) - 0.5
    first = place.floor()
    return first.clamp(min=0).long(), (first + 1).clamp(max=tiles - 1).long(), place - first


def clahe(frames: Tensor, clip_limit: float | list[float], tiles: int = 8) -> Tensor:
    """Equalise the lightness of frames.

    Args:
        frames: ``(N, C, H, W)`` float in [0, 1]; C = 1 (grey) or 3 (RGB).
        clip_limit, tiles: see :func:`clahe_levels`.

    Returns:
        The same shape, float in [0, 1].
    """
    if frames.shape[1] == 1:
        levels = clahe_levels(lightness_level(frames[:, 0]), clip_limit, tiles)
        return grey_of_lightness(frames.device).index_select(0, levels.view(-1)).view(frames.shape)
    root = _root(torch.einsum("dc,nchw->ndhw", _matrix("to_xyz", frames.dtype, frames.device), _linear(frames)))
    levels = ((1.16 * root[:, 1] - 0.16) * (BINS - 1)).round().clamp_(0, BINS - 1).long()
    lightness = clahe_levels(levels, clip_limit, tiles) / (BINS - 1)
    root = root + ((lightness + 0.16) / 1.16 - root[:, 1])[:, None]  # a*, b* are differences of roots: they stay
    linear = torch.einsum("cd,ndhw->nchw", _matrix("to_rgb", frames.dtype, frames.device), _unroot(root)).clamp_(0, 1)
    return srgb_of_linear(linear)


def lightness_level(grey: Tensor) -> Tensor:
    """Lightness L* of greys in [0, 1] as one of 256 levels, int64."""
    return ((1.16 * _root(_linear(grey)) - 0.16) * (BINS - 1)).round().clamp_(0, BINS - 1).long()


def grey_of_lightness(device: torch.device) -> Tensor:
    """``(256,)`` float32 in [0, 1]: the grey of each lightness level."""
    lightness = torch.arange(BINS, device=device) / (BINS - 1)
    return srgb_of_linear(_unroot((lightness + 0.16) / 1.16)).clamp(0, 1)


def _linear(value: Tensor) -> Tensor:
    """The sRGB curve (IEC 61966-2-1): stored values to linear light, floating point in [0, 1], any shape, elementwise."""
    return torch.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def srgb_of_linear(value: Tensor) -> Tensor:
    """Inverse of :func:`_linear`."""
    return torch.where(value <= 0.0031308, value * 12.92, 1.055 * value.clamp(min=0.0031308) ** (1 / 2.4) - 0.055)


def _root(value: Tensor) -> Tensor:
    """CIE's f(t) = t^(1/3), a straight line below (6/29)^3."""
    return torch.where(value > _KNEE**3, value.clamp(min=_KNEE**3) ** (1 / 3), value / (3 * _KNEE**2) + 4 / 29)


def _unroot(value: Tensor) -> Tensor:
    """Inverse of :func:`_root`."""
    return torch.where(value > _KNEE, value**3, 3 * _KNEE**2 * (value - 4 / 29))
