"""Strong augmentation for the default weights: what a network has seen vary, it learns to ignore.

One draw per clip for what a scanner, an operator or a screen grabber sets once (place, size, gain, contrast, haze, shadow,
resolution); one draw per frame for what comes and goes (noise, flicker, a lost frame). All draws are made on the CPU
from one generator, so that a step can be repeated.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def strong_augment(clip: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Augment a batch.

    Args:
        clip: (B, F, H, W) float in [0, 1].
        masks: (B, F, H, W) bool.
        generator: a CPU generator.

    Returns:
        Clip and masks of the same shapes, values in [0, 1].
    """
    clip, masks = _place(clip, masks, generator)
    lit = (clip.amax(1, keepdim=True) > 0.02).float()  # haze and noise belong inside the cone; outside it stays black
    clip = _fields(clip, generator)
    clip = _shadows(clip, generator)
    clip = _tone(clip, generator)
    clip = _resolution(clip, generator)
    clip = _frames(clip, generator)
    return (clip * lit).clamp_(0, 1), masks


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator, like: Tensor) -> Tensor:
    return (low + (high - low) * torch.rand(shape, generator=generator)).to(like)


def _sometimes(count: int, p: float, generator: torch.Generator, like: Tensor) -> Tensor:
    """(count, 1, 1, 1) of 0 and 1."""
    return (torch.rand((count, 1, 1, 1), generator=generator) < p).float().to(like)


def _place(clip: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Turn by up to 15 degrees, scale by 0.8-1.2, stretch by 10 %, shift by up to 8 % of the frame."""
    count = len(clip)
    angle = _uniform((count,), -math.radians(15), math.radians(15), generator, clip)
    scale = _uniform((count,), 1 / 1.2, 1 / 0.8, generator, clip)
    stretch = _uniform((count,), 0.95, 1.05, generator, clip)
    shift = _uniform((count, 2), -0.16, 0.16, generator, clip)  # of half the frame
    cos, sin = angle.cos() * scale, angle.sin() * scale
    matrix = torch.stack([torch.stack([cos * stretch, -sin / stretch, shift[:, 0]], 1),
                          torch.stack([sin * stretch, cos / stretch, shift[:, 1]], 1)], 1)
    grid = F.affine_grid(matrix, [count, 1, *clip.shape[2:]], align_corners=False)
    moved = F.grid_sample(clip, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    labels = F.grid_sample(masks.to(clip), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return moved, labels > 0.5


def _smooth_field(count: int, cells: int, size: tuple[int, int], generator: torch.Generator, like: Tensor) -> Tensor:
    """(count, 1, H, W): smooth, about zero mean and unit deviation at its knots."""
    knots = torch.randn((count, 1, cells, cells), generator=generator).to(like)
    return F.interpolate(knots, size=size, mode="bicubic", align_corners=True)


def _fields(clip: Tensor, generator: torch.Generator) -> Tensor:
    """Uneven gain and haze over the frame."""
    count, _, height, width = clip.shape
    gain = torch.exp(0.35 * _uniform((count, 1, 1, 1), 0, 1, generator, clip)
                     * _smooth_field(count, 4, (height, width), generator, clip))
    haze = (0.12 * _sometimes(count, 0.5, generator, clip) * _uniform((count, 1, 1, 1), 0, 1, generator, clip)
            * _smooth_field(count, 3, (height, width), generator, clip).abs())
    return clip * gain + haze


def _shadows(clip: Tensor, generator: torch.Generator) -> Tensor:
    """A dark wedge below the probe, in half of the clips; it sways a little."""
    count, frames, height, width = clip.shape
    rows = torch.linspace(0, 1, height).to(clip).view(1, 1, height, 1) - 0.05
    columns = torch.linspace(-0.5, 0.5, width).to(clip).view(1, 1, 1, width)
    direction = torch.atan2(columns, rows)
    sway = 0.04 * torch.sin(torch.linspace(0, 6, frames)).to(clip).view(1, frames, 1, 1)
    centre = _uniform((count, 1, 1, 1), -0.8, 0.8, generator, clip) + sway
    spread = _uniform((count, 1, 1, 1), 0.03, 0.15, generator, clip)
    depth = _sometimes(count, 0.5, generator, clip) * _uniform((count, 1, 1, 1), 0.3, 0.95, generator, clip)
    return clip * (1 - depth * torch.exp(-(((direction - centre) / spread) ** 2)))


def _tone(clip: Tensor, generator: torch.Generator) -> Tensor:
    """Gain, black level and gamma: the settings that every operator chooses otherwise."""
    count = len(clip)
    gain = torch.exp(_uniform((count, 1, 1, 1), -0.5, 0.5, generator, clip))
    black = _sometimes(count, 0.5, generator, clip) * _uniform((count, 1, 1, 1), 0, 0.12, generator, clip)
    gamma = torch.exp(_uniform((count, 1, 1, 1), -0.55, 0.55, generator, clip))
    return ((clip - black) * gain).clamp(1e-4, 1) ** gamma


def _resolution(clip: Tensor, generator: torch.Generator) -> Tensor:
    """Blur in half of the clips, as much as other scanners and video compression do."""
    out = []
    for one, sigma, blur in zip(clip, torch.rand(len(clip), generator=generator).tolist(),
                                torch.rand(len(clip), generator=generator).tolist(), strict=True):
        if blur < 0.5:
            sigma = 0.3 + 1.2 * sigma
            reach = torch.arange(-4, 5).to(one)
            kernel = torch.exp(-0.5 * (reach / sigma) ** 2)
            kernel = (kernel / kernel.sum()).view(1, 1, 1, -1)
            one = F.conv2d(one[:, None], kernel, padding=(0, 4))
            one = F.conv2d(one, kernel.transpose(2, 3), padding=(4, 0))[:, 0]
        out.append(one)
    return torch.stack(out)


def _frames(clip: Tensor, generator: torch.Generator) -> Tensor:
    """Noise of its own on each frame, flicker, and now and then a frame that is lost or all but gone."""
    count, frames, height, width = clip.shape
    flicker = 1 + 0.05 * torch.randn((count, frames, 1, 1), generator=generator).to(clip)
    lost = (torch.rand((count, frames, 1, 1), generator=generator) < 0.04).float().to(clip)
    seed = int(torch.randint(2 ** 31, (1,), generator=generator))
    own = torch.Generator(device=clip.device).manual_seed(seed)  # drawn where it is used: the largest draw of all
    noise = torch.randn(clip.shape, generator=own, device=clip.device, dtype=clip.dtype)
    level = _uniform((count, 1, 1, 1), 0, 0.06, generator, clip)
    grain = 1 + _uniform((count, 1, 1, 1), 0, 0.25, generator, clip) * noise.flip(-1)
    return clip * flicker * grain * (1 - 0.9 * lost) + level * noise
