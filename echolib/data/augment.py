"""Augmentation of a batch of clips on its own device: one draw per clip, the same for all its frames and its masks.

SimLVSeg, "Implementation details": colour jitter, CLAHE, rotation, padding, random crop, in that order. What the text
leaves open is settled here: jitter multiplies and shifts as torchvision's ``ColorJitter`` (its four operations in random
order); CLAHE draws its clip limit from 1-4 on 8x8 tiles (the default of the common augmentation library); rotation is
bilinear about the frame's centre; what comes from outside the frame is black; masks follow by nearest neighbour.

All draws are made on the CPU from one generator, a fixed number per clip, so that a batch is augmented alike on every
device. Grey clips (three equal channels) are computed in one channel: hue and saturation do nothing to them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from echolib.config import ECHONET_MEAN, ECHONET_STD, AugmentSpec
from echolib.data.clahe import clahe

CLAHE_LIMITS = (1.0, 4.0)
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
_DRAWS = 14  # numbers drawn per clip: see _draw


def to_float(clips: Tensor) -> Tensor:
    """Stored frames as clips: ``(B, F, H, W, C)`` uint8, C 1 or 3 -> ``(B, 3, F, H, W)`` float32 in [0, 1].

    Grey clips come back as one channel seen three times (a view with stride 0): write to a clone only.
    """
    first = clips[..., 0].contiguous()
    if clips.shape[-1] == 1 or (torch.equal(first, clips[..., 1]) and torch.equal(first, clips[..., 2])):
        return (first.float() / 255)[:, None].expand(-1, 3, -1, -1, -1)
    return clips.movedim(-1, 1).contiguous().float() / 255


def normalise(clip: Tensor) -> Tensor:
    """Clips ``(B, 3, F, H, W)`` from the 0-1 scale to EchoNet-Dynamic's zero mean and unit deviation per channel."""
    mean, std = _moments(clip)
    return (clip - mean).div_(std)


def denormalise(clip: Tensor) -> Tensor:
    """Inverse of :func:`normalise`."""
    mean, std = _moments(clip)
    return clip * std + mean


def _moments(clip: Tensor) -> tuple[Tensor, Tensor]:
    return clip.new_tensor(ECHONET_MEAN).view(3, 1, 1, 1), clip.new_tensor(ECHONET_STD).view(3, 1, 1, 1)


@dataclass(frozen=True)
class Draw:
    """What happens to one clip. Factors are torchvision's; 1 (hue: 0) changes nothing."""

    brightness: float
    contrast: float
    saturation: float
    hue: float  # turns of the colour circle
    order: tuple[int, ...]  # 0 brightness, 1 contrast, 2 saturation, 3 hue
    clahe: float | None  # clip limit
    degrees: float  # counter-clockwise as seen on the screen
    shift: tuple[int, int]  # px (down, right): where the crop starts, counted from the unpadded frame


def draw(count: int, spec: AugmentSpec, generator: torch.Generator) -> list[Draw]:
    """One draw per clip; always the same number of random numbers, whatever the probabilities say."""
    draws = []
    for u in torch.rand(count, _DRAWS, generator=generator, dtype=torch.float64).tolist():
        j = spec.jitter if u[0] < spec.jitter_p else 0.0
        low, high = max(0.0, 1 - j), 1 + j
        factors = [low + (high - low) * v for v in u[1:4]]
        limit = CLAHE_LIMITS[0] + (CLAHE_LIMITS[1] - CLAHE_LIMITS[0]) * u[6]
        draws.append(Draw(
            brightness=factors[0], contrast=factors[1], saturation=factors[2], hue=(2 * u[4] - 1) * min(j, 0.5),
            order=tuple(sorted(range(4), key=lambda k: u[10 + k])), clahe=limit if u[5] < spec.clahe_p else None,
            degrees=(2 * u[7] - 1) * spec.rotation,
            shift=(int(u[8] * (2 * spec.pad + 1)) - spec.pad, int(u[9] * (2 * spec.pad + 1)) - spec.pad)))
    return draws


@torch.no_grad()
def augment(clip: Tensor, masks: Tensor | None, spec: AugmentSpec, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
    """Augment a batch.

    Args:
        clip: ``(B, 3, F, H, W)`` float32 in [0, 1].
        masks: ``(B, H, W)`` or ``(B, F, H, W)`` bool, or None.
        spec: ranges and probabilities.
        generator: a CPU generator; the same state gives the same result.

    Returns:
        Clip and masks, shaped as they came; values in [0, 1]. A grey clip comes back as a view with stride 0.
    """
    draws = draw(len(clip), spec, generator)
    grey = clip.stride(1) == 0 or bool((clip == clip[:, :1]).all())
    channels = clip[:, :1] if grey else clip
    changed = torch.empty(channels.shape, dtype=clip.dtype, device=clip.device)
    for i, one in enumerate(draws):  # clip by clip: each has its own factors, and a clip's tables fit the cache
        frames = jitter(channels[i].transpose(0, 1), one)  # (F, C, H, W)
        if one.clahe is not None:
            frames = clahe(frames, one.clahe)
        changed[i] = frames.transpose(0, 1)
    changed, masks = warp(changed, masks, draws)
    return changed.expand(clip.shape), masks


def jitter(frames: Tensor, one: Draw) -> Tensor:
    """Brightness, contrast, saturation and hue of frames ``(F, C, H, W)`` in [0, 1], C 1 (grey) or 3, as torchvision does."""
    for operation in one.order:
        if operation == 0 and one.brightness != 1:
            frames = (frames * one.brightness).clamp_(0, 1)
        elif operation == 1 and one.contrast != 1:
            level = _grey(frames).mean((1, 2, 3), keepdim=True)
            frames = (frames * one.contrast + level * (1 - one.contrast)).clamp_(0, 1)
        elif operation == 2 and one.saturation != 1 and frames.shape[1] == 3:
            frames = (frames * one.saturation + _grey(frames) * (1 - one.saturation)).clamp_(0, 1)
        elif operation == 3 and one.hue != 0 and frames.shape[1] == 3:
            frames = _turn_hue(frames, one.hue)
    return frames


def _grey(frames: Tensor) -> Tensor:
    if frames.shape[1] == 1:
        return frames
    red, green, blue = frames.unbind(1)
    return (_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue)[:, None]


def _turn_hue(frames: Tensor, turns: float) -> Tensor:
    """Turn the hue of RGB frames ``(F, 3, H, W)``; value and saturation (HSV) stay, so greys do not change."""
    value, brightest = frames.max(1)
    spread = value - frames.amin(1)
    red, green, blue = frames.unbind(1)
    ahead = torch.stack([(green - blue), (blue - red), (red - green)], 1).gather(1, brightest[:, None])[:, 0]
    sixths = 2 * brightest + ahead / spread.clamp(min=1e-12) + 6 * turns  # hue in sixths of the circle
    # Channel n of a hue h (in sixths): value - spread * clip(min(k, 4 - k), 0, 1) with k = (n + h) mod 6, n = 5, 3, 1.
    k = (torch.tensor([5.0, 3.0, 1.0], device=frames.device).view(3, 1, 1) + sixths[:, None]) % 6
    return value[:, None] - spread[:, None] * torch.minimum(k, 4 - k).clamp_(0, 1)


def source_positions(draws: list[Draw], height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Where every output pixel comes from: row and column in the clip, and whether the rotated frame has that pixel at all.

    Returns:
        ``(B, H, W)`` float64 row, the same for the column, and ``(B, H, W)`` bool, all on the CPU.
    """
    angle = torch.tensor([math.radians(one.degrees) for one in draws], dtype=torch.float64).view(-1, 1, 1)
    down, right = (torch.tensor([one.shift[k] for one in draws]).view(-1, 1, 1) for k in (0, 1))
    rows = torch.arange(height).view(1, -1, 1) + down  # (B, H, 1): row in the rotated frame
    columns = torch.arange(width).view(1, 1, -1) + right
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    middle_y, middle_x = (height - 1) / 2, (width - 1) / 2
    dy, dx = rows - middle_y, columns - middle_x
    return middle_y + angle.sin() * dx + angle.cos() * dy, middle_x + angle.cos() * dx - angle.sin() * dy, inside


def warp(clip: Tensor, masks: Tensor | None, draws: list[Draw]) -> tuple[Tensor, Tensor | None]:
    """Rotate about the centre, pad with black, crop: one look-up per output pixel, no intermediate image.

    Output pixel (y, x) is pixel (y + down, x + right) of the rotated frame, or black where that lies outside it.
    Positions are computed in float64 and masks look up the nearest pixel by index, so no device rounds them differently.

    Args:
        clip: ``(B, C, F, H, W)`` float.
        masks: ``(B, H, W)``, ``(B, F, H, W)`` bool, or None.
        draws: one per clip.
    """
    if all(one.degrees == 0 and one.shift == (0, 0) for one in draws):
        return clip, masks
    batch, _, _, height, width = clip.shape
    source_y, source_x, inside = source_positions(draws, height, width)
    middle_y, middle_x = (height - 1) / 2, (width - 1) / 2
    # grid_sample counts from -1 to 1 between the centres of the first and last pixel (align_corners=True).
    grid = torch.stack([source_x / max(middle_x, 0.5) - 1, source_y / max(middle_y, 0.5) - 1], -1).to(clip)
    seen = F.grid_sample(clip.flatten(1, 2), grid, mode="bilinear", padding_mode="zeros", align_corners=True)
    seen = (seen * inside.to(clip)[:, None]).clamp_(0, 1).view(clip.shape)
    if masks is None:
        return seen, None
    near_y, near_x = source_y.round().long(), source_x.round().long()
    inside = inside & (near_y >= 0) & (near_y < height) & (near_x >= 0) & (near_x < width)
    index = (near_y.clamp(0, height - 1) * width + near_x.clamp(0, width - 1)).flatten(1).to(masks.device)
    planes = masks.reshape(batch, -1, height * width)
    turned = planes.gather(2, index[:, None].expand(-1, planes.shape[1], -1)).view(masks.shape)
    inside = inside.to(masks.device)
    return seen, turned & (inside if masks.ndim == 3 else inside[:, None])
