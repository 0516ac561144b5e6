"""Augmentation of a batch of clips on its own device: one draw per clip, the same for all its frames and its masks.

SimLVSeg, "Implementation details": colour jitter, CLAHE, rotation, padding, random crop, in that order. What the text
leaves open is settled here: jitter multiplies and shifts as torchvision's ``ColorJitter`` (its four operations in random
order); CLAHE draws its clip limit from 1-4 on 8x8 tiles (the default of the common augmentation library); rotation is
bilinear about the frame's centre; what comes from outside the frame is black; masks follow by nearest neighbour.

This file is the fast path (``engine: fast``): :func:`augment_frames` takes stored frames to augmented clips, on the CPU
through the look-up tables of :mod:`echolib.data.tables`, on a GPU as whole batches, for which the host never waits. What
each operation is stands, frame by frame with OpenCV, in :mod:`echolib.data.plain` (``engine: plain``); both take a
:class:`Draw`, and the tests compare them number by number.

All draws are made on the CPU from one generator, a fixed number per clip, so that a batch is augmented alike on every
device. Grey clips (stored with one channel) are computed in one channel: hue and saturation do nothing to them.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from echolib.config.specs import ECHONET_MEAN, ECHONET_STD, AugmentSpec
from echolib.data import tables
from echolib.data.clahe import clahe, to_device
from echolib.data.draws import LUMA, Draw

CLAHE_LIMITS = (1.0, 4.0)
_DRAWS = 14  # numbers drawn per clip: see _draw


def to_float(clips: Tensor) -> Tensor:
    """Stored frames as clips: ``(B, F, H, W, C)`` uint8, C 1 or 3 -> ``(B, 3, F, H, W)`` float32 in [0, 1].

    Frames stored grey come back as one channel seen three times (a view with stride 0): write to a clone only.
    """
    if clips.shape[-1] == 1:
        return (clips[..., 0].float() / 255)[:, None].expand(-1, 3, -1, -1, -1)
    return clips.movedim(-1, 1).contiguous().float() / 255


def normalise(clip: Tensor) -> Tensor:
    """Clips ``(B, 3, F, H, W)`` from the 0-1 scale to EchoNet-Dynamic's zero mean and unit deviation per channel."""
    mean, std = _moments(clip.dtype, clip.device)
    return torch.sub(clip, mean, out=_room(clip)).div_(std)


def denormalise(clip: Tensor) -> Tensor:
    """Inverse of :func:`normalise`."""
    mean, std = _moments(clip.dtype, clip.device)
    return clip * std + mean


def _room(clip: Tensor) -> Tensor:
    """Memory for a result shaped as ``clip``; on the CPU from numpy, which asks for huge pages: half the time of a write."""
    if clip.device.type == "cpu" and clip.dtype == torch.float32:
        return torch.from_numpy(np.empty(clip.shape, np.float32))
    return torch.empty(clip.shape, dtype=clip.dtype, device=clip.device)


@cache
def _moments(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and deviation on their device; copied once, for a copy makes the host wait."""
    mean, std = (torch.tensor(v, dtype=dtype, device=device).view(3, 1, 1, 1) for v in (ECHONET_MEAN, ECHONET_STD))
    return mean, std


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
    if spec.flip_p:  # after all others, which therefore do not depend on it
        flips = torch.rand(count, generator=generator, dtype=torch.float64).tolist()
        draws = [replace(one, flip=u < spec.flip_p) for one, u in zip(draws, flips, strict=True)]
    return draws


@torch.no_grad()
def augment_frames(frames: Tensor, masks: Tensor | None, draws: list[Draw]) -> tuple[Tensor, Tensor | None]:
    """Stored frames as augmented clips, the fastest way that their device has.

    Args:
        frames: ``(B, F, H, W, C)`` uint8, C 1 (grey) or 3 (RGB).
        masks: ``(B, H, W)`` or ``(B, F, H, W)`` bool, or None.
        draws: one per clip.

    Returns:
        ``(B, 3, F, H, W)`` float32 in [0, 1] (grey: a view with stride 0), and the masks.
    """
    if frames.device.type != "cpu":
        return augment_drawn(to_float(frames), masks, draws)
    clip = tables.augmented(frames.numpy(), draws)
    if masks is not None:
        masks = turn_masks(masks, source_positions(draws, *masks.shape[-2:], masks.device))
    clip, masks = _flipped(clip, draws), None if masks is None else _flipped(masks, draws)
    return clip.expand(-1, 3, -1, -1, -1), masks


def augment(clip: Tensor, masks: Tensor | None, spec: AugmentSpec, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
    """Draw and augment a batch; the same state of ``generator`` (a CPU one) gives the same result. See :func:`augment_drawn`."""
    return augment_drawn(clip, masks, draw(len(clip), spec, generator))


@torch.no_grad()
def augment_drawn(clip: Tensor, masks: Tensor | None, draws: list[Draw]) -> tuple[Tensor, Tensor | None]:
    """Augment a whole batch where it is. On a GPU nothing here makes the host wait.

    Args:
        clip: ``(B, 3, F, H, W)`` float32 in [0, 1]; grey: as :func:`to_float` gives it, one channel seen three times.
        masks: ``(B, H, W)`` or ``(B, F, H, W)`` bool, or None.
        draws: one per clip.

    Returns:
        Clip and masks, shaped as they came; values in [0, 1]. A grey clip comes back as a view with stride 0.
    """
    channels = clip[:, :1] if clip.stride(1) == 0 else clip
    changed = jitter(channels, draws)
    equalised = [i for i, one in enumerate(draws) if one.clahe is not None]
    if equalised:
        which = to_device(torch.tensor(equalised), clip.device)
        frames = changed.index_select(0, which).transpose(1, 2).flatten(0, 1)  # (clips * F, C, H, W)
        limits = [draws[i].clahe for i in equalised for _ in range(clip.shape[2])]
        frames = clahe(frames, limits).view(len(equalised), clip.shape[2], *frames.shape[1:]).transpose(1, 2)
        changed = changed.index_copy(0, which, frames) if len(equalised) < len(draws) else frames
    changed, masks = warp(changed, masks, draws)
    return _flipped(changed, draws).expand(clip.shape), None if masks is None else _flipped(masks, draws)


def _flipped(batch: Tensor, draws: list[Draw]) -> Tensor:
    """The items of a batch whose draw says so, mirrored left to right (last axis)."""
    if not any(one.flip for one in draws):
        return batch
    return torch.stack([item.flip(-1) if one.flip else item for item, one in zip(batch, draws, strict=True)])


def jitter(clip: Tensor, draws: list[Draw]) -> Tensor:
    """Brightness, contrast, saturation and hue as torchvision does, each clip in its own order.

    Every operation but hue mixes a pixel with its own grey or with its frame's mean grey. So the k-th operations of all clips
    are one mixture with weights per clip, and those of the clips whose k-th operation is another one are 1 and 0.

    Args:
        clip: ``(B, C, F, H, W)`` float in [0, 1], C 1 (grey) or 3.
        draws: one per clip.
    """
    grey = clip.shape[1] == 1
    orders = [[k for k in one.order if k < 2] if grey else list(one.order) for one in draws]
    for stage in range(2 if grey else 4):
        weights, hues = [], []  # of the pixel, of its grey, of the frame's mean grey
        for i, (one, order) in enumerate(zip(draws, orders, strict=True)):
            factor = (one.brightness, one.contrast, one.saturation, 1.0)[order[stage]]
            weights.append((factor, (1 - factor) * (order[stage] == 2), (1 - factor) * (order[stage] == 1)))
            if order[stage] == 3 and one.hue != 0:
                hues.append(i)
        own, pale, even = to_device(torch.tensor(weights, dtype=clip.dtype), clip.device).view(-1, 3, 1, 1, 1, 1).unbind(1)
        if any(w != (1, 0, 0) for w in weights):
            level = _grey(clip)
            mixed = level.mean((3, 4), keepdim=True) * even
            clip = (clip * own + (mixed if grey else mixed + level * pale)).clamp_(0, 1)
        if hues:
            which = to_device(torch.tensor(hues), clip.device)
            turns = to_device(torch.tensor([draws[i].hue for i in hues], dtype=clip.dtype), clip.device)
            turned = _turn_hue(clip.index_select(0, which).transpose(1, 2), turns.view(-1, 1, 1, 1)).transpose(1, 2)
            clip = clip.index_copy(0, which, turned)
    return clip


def _grey(clip: Tensor) -> Tensor:
    if clip.shape[1] == 1:
        return clip
    red, green, blue = clip.unbind(1)
    return (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue)[:, None]


def _turn_hue(clip: Tensor, turns: Tensor) -> Tensor:
    """Turn the hue of RGB frames ``(B, F, 3, H, W)``; value and saturation (HSV) stay, so greys do not change."""
    value, brightest = clip.max(2)
    spread = value - clip.amin(2)
    red, green, blue = clip.unbind(2)
    ahead = torch.stack([(green - blue), (blue - red), (red - green)], 2).gather(2, brightest[:, :, None])[:, :, 0]
    sixths = 2 * brightest + ahead / spread.clamp(min=1e-12) + 6 * turns  # hue in sixths of the circle
    # Channel n of a hue h (in sixths): value - spread * clip(min(k, 4 - k), 0, 1) with k = (n + h) mod 6, n = 5, 3, 1.
    k = (torch.arange(5, 0, -2, device=clip.device).view(3, 1, 1) + sixths[:, :, None]) % 6
    return value[:, :, None] - spread[:, :, None] * torch.minimum(k, 4 - k).clamp_(0, 1)


def source_positions(draws: list[Draw], height: int, width: int,
                     device: torch.device | str = "cpu") -> tuple[Tensor, Tensor, Tensor]:
    """Where every output pixel comes from: row and column in the clip, and whether the rotated frame has that pixel at all.

    In float64, so that no device rounds them differently.

    Returns:
        ``(B, H, W)`` float64 row, the same for the column, and ``(B, H, W)`` bool, on ``device``.
    """
    device = torch.device(device)
    turns = [(math.sin(math.radians(one.degrees)), math.cos(math.radians(one.degrees)), *one.shift) for one in draws]
    sin, cos, down, right = to_device(torch.tensor(turns, dtype=torch.float64), device).view(-1, 4, 1, 1).unbind(1)
    rows = torch.arange(height, device=device).view(1, -1, 1) + down  # (B, H, 1): row in the rotated frame
    columns = torch.arange(width, device=device).view(1, 1, -1) + right
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    middle_y, middle_x = (height - 1) / 2, (width - 1) / 2
    dy, dx = rows - middle_y, columns - middle_x
    return middle_y + sin * dx + cos * dy, middle_x + cos * dx - sin * dy, inside


def warp(clip: Tensor, masks: Tensor | None, draws: list[Draw]) -> tuple[Tensor, Tensor | None]:
    """Rotate about the centre, pad with black, crop: one look-up per output pixel, no intermediate image.

    Output pixel (y, x) is pixel (y + down, x + right) of the rotated frame, or black where that lies outside it.

    Args:
        clip: ``(B, C, F, H, W)`` float.
        masks: ``(B, H, W)``, ``(B, F, H, W)`` bool, or None.
        draws: one per clip.
    """
    if all(one.degrees == 0 and one.shift == (0, 0) for one in draws):
        return clip, masks
    height, width = clip.shape[-2:]
    positions = source_positions(draws, height, width, clip.device)
    # grid_sample counts from -1 to 1 between the centres of the first and last pixel (align_corners=True).
    grid = torch.stack([positions[1] / max((width - 1) / 2, 0.5) - 1, positions[0] / max((height - 1) / 2, 0.5) - 1], -1)
    seen = F.grid_sample(clip.flatten(1, 2), grid.to(clip.dtype), mode="bilinear", padding_mode="zeros", align_corners=True)
    seen = (seen * positions[2].to(clip.dtype)[:, None]).clamp_(0, 1).view(clip.shape)
    return seen, None if masks is None else turn_masks(masks, positions)


def turn_masks(masks: Tensor, positions: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Masks ``(B, H, W)`` or ``(B, F, H, W)`` bool by nearest neighbour (ties to even) of :func:`source_positions`."""
    height, width = masks.shape[-2:]
    near_y, near_x = positions[0].round().long(), positions[1].round().long()
    inside = positions[2] & (near_y >= 0) & (near_y < height) & (near_x >= 0) & (near_x < width)
    index = (near_y.clamp(0, height - 1) * width + near_x.clamp(0, width - 1)).flatten(1)
    planes = masks.reshape(len(masks), -1, height * width)
    turned = planes.gather(2, index[:, None].expand(-1, planes.shape[1], -1)).view(masks.shape)
    return turned & (inside if masks.ndim == 3 else inside[:, None])
