"""Flips, transposition and rotation of a batch of frames, and back: two views of one clip whose masks can be compared.

A view is four numbers: left-right flip, up-down flip, transposition (0 or 1 each), degrees. It is one linear map about the centre
of a square frame; its inverse is its transpose. Flips and transpositions move pixels exactly (up to rounding), rotations
interpolate.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

#: Numbers of a view.
VIEW = 4


def draw_view(rng: np.random.Generator, *, flips: bool, rotation: float) -> np.ndarray:
    """A random view, ``(4,)`` float64; always four numbers drawn.

    Args:
        rng: source of the draw.
        flips: each of the flips and the transposition with a chance of one half; else none.
        rotation: degrees, either way.
    """
    u = rng.random(VIEW)
    return np.array([*((u[:3] < 0.5) & flips), (2 * u[3] - 1) * rotation], float)


def maps_of(views: Tensor) -> Tensor:
    """``(B, 4)`` -> ``(B, 2, 2)`` float32: where an output pixel, (x, y) from the centre, comes from in the input."""
    horizontal, vertical, transposed, degrees = views.double().unbind(1)
    angle = degrees.deg2rad()
    zero, turn = torch.zeros_like(angle), torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(-1, 2, 2)
    flip = torch.stack([1 - 2 * horizontal, zero, zero, 1 - 2 * vertical], 1).view(-1, 2, 2)
    swap = torch.stack([1 - transposed, transposed, transposed, 1 - transposed], 1).view(-1, 2, 2)
    return (turn @ flip @ swap).float()


def turned(frames: Tensor, maps: Tensor, background: Tensor | float = 0.0) -> Tensor:
    """Frames as seen in a view.

    Args:
        frames: ``(B, C, ..., S, S)`` float.
        maps: ``(B, 2, 2)``, see :func:`maps_of`.
        background: ``(C,)`` or a number: what lies outside the frame.

    Raises:
        ValueError: the frames are not square.
    """
    side = frames.shape[-1]
    if frames.shape[-2] != side:
        raise ValueError(f"a view transposes and turns square frames, not {frames.shape[-2]}x{side}")
    offset = torch.as_tensor(background, dtype=frames.dtype, device=frames.device)
    offset = offset.view(1, -1, *(1,) * (frames.ndim - 2))
    flat = (frames - offset).reshape(len(frames), -1, side, side)
    theta = torch.cat([maps.to(frames), maps.new_zeros(len(maps), 2, 1).to(frames)], 2)
    grid = F.affine_grid(theta, list(flat.shape), align_corners=False)
    return F.grid_sample(flat, grid, align_corners=False).view(frames.shape) + offset


def turned_back(frames: Tensor, maps: Tensor) -> Tensor:
    """What :func:`turned` did, undone; outside the turned frame is 0."""
    return turned(frames, maps.transpose(1, 2))


def seen(maps: Tensor, side: int) -> Tensor:
    """``(B, S, S)`` bool: pixels that are still there after a view and its inverse."""
    whole = torch.ones(len(maps), 1, side, side, device=maps.device)
    return turned_back(turned(whole, maps), maps)[:, 0] > 0.999
