"""Losses of PKEcho-Net (Wu et al., AAAI 2023, eq. 6): soft Dice and boundary loss of every stage, unweighted.

The boundary loss (Kervadec et al., MedIA 2021) is the mean of probability times signed distance to the traced border, negative
inside: its minimum is negative, so a total below 0 is right. In px it outweighs Dice (at most 1) from the start: p = 0.5 at 128
px gives about 15. ``scale="diagonal"`` divides the distance by the frame's diagonal. Which Dice (squared sums as in V-Net, which
the paper cites, or plain ones) and which smoothing are not said.

Everything is computed in float32 from logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from echolib.losses.simlvseg import SMOOTH

Scale = Literal["px", "diagonal"]


def soft_dice(logits: Tensor, target: Tensor, *, squared: bool = True, smooth: float = SMOOTH) -> Tensor:
    """Soft Dice loss of each frame, then the mean: a scalar in [0, 1].

    Args:
        logits: ``(N, H, W)``.
        target: ``(N, H, W)`` bool.
        squared: sums of squares in the denominator (Milletari et al. 2016); else plain sums.
        smooth: px, added to numerator and denominator; with 0 an empty frame without a prediction is 0/0.
    """
    probability, truth = logits.float().sigmoid().flatten(1), target.float().flatten(1)
    areas = (probability.square() if squared else probability).sum(1) + truth.sum(1)
    return (1 - (2 * (probability * truth).sum(1) + smooth) / (areas + smooth)).mean()


def signed_distance(masks: Tensor) -> Tensor:
    """Distance of every pixel centre to the border of its mask, px: negative inside, 0.5 at the pixels along the border.

    Args:
        masks: ``(..., H, W)`` bool. A mask that is empty or full has no border: its distances are 0.

    Returns:
        the same shape, float32, on the masks' device; computed on the CPU.
    """
    flat = masks.detach().cpu().numpy().reshape(-1, *masks.shape[-2:])
    out = np.zeros(flat.shape, np.float32)
    for mask, distance in zip(flat, out, strict=True):
        if mask.any() and not mask.all():
            distance[:] = np.where(mask, 0.5 - distance_transform_edt(mask), distance_transform_edt(~mask) - 0.5)
    return torch.from_numpy(out).view(masks.shape).to(masks.device)


def boundary(logits: Tensor, distance: Tensor, scale: Scale = "px") -> Tensor:
    """Mean over pixels and frames of probability times signed distance.

    Args:
        logits: ``(N, H, W)``.
        distance: ``(N, H, W)`` px, see :func:`signed_distance`.
        scale: ``px``, or ``diagonal``: as a share of the frame's diagonal.
    """
    mean = (logits.float().sigmoid() * distance).mean()
    return mean if scale == "px" else mean / (distance.shape[-2] ** 2 + distance.shape[-1] ** 2) ** 0.5


def of_stages(stages: Sequence[Tensor], masks: Tensor, distance: Tensor | None, *, squared: bool = True, weight: float = 1.0,
              scale: Scale = "px") -> Tensor:
    """Dice plus boundary loss, added over the stages (eq. 6).

    Args:
        stages: logits ``(B, 1, n, H, W)`` of the n traced frames, one tensor a stage.
        masks: ``(B, n, H, W)`` bool.
        distance: ``(B, n, H, W)`` px; None with ``weight`` 0.
        squared: see :func:`soft_dice`.
        weight: of the boundary loss; 1 in the paper.
        scale: see :func:`boundary`.
    """
    truth = masks.flatten(0, 1)
    total = masks.new_zeros((), dtype=torch.float32)
    for logits in stages:
        flat = logits[:, 0].flatten(0, 1)
        total = total + soft_dice(flat, truth, squared=squared)
        if weight:
            total = total + weight * boundary(flat, distance.flatten(0, 1), scale)
    return total
