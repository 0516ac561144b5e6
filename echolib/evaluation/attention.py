"""Where a network that gives the ejection fraction looks: SmoothGrad on the traced frames, against the ventricle.

SmoothGrad (Smilkov et al., 2017) as CSS uses it (Dai et al., IEEE TMI 2023, Tables II and X): the absolute gradient of the
output with respect to each pixel, averaged over copies of the clip with noise. How many copies, how much noise, and whether
the top five per cent of pixels are those of a frame or of the clip is not said; here they are a frame's. Their number is
fixed, so Dice against a ventricle of A pixels is at most 2 k / (k + A) for k pixels: a larger ventricle can score less.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from echolib.evaluation.metrics import dice

#: Share of a frame's pixels that count as attended to.
TOP = 0.05


@dataclass(frozen=True)
class Attention:
    """One frame.

    Attributes:
        dice: of the top pixels with the ventricle.
        ceiling: the highest Dice that so many pixels can have with it.
        inside: share of the frame's attention that lies in the ventricle.
        area: share of the frame's pixels that do.
        top: ``(H, W)`` bool, the top pixels.
    """

    dice: float
    ceiling: float
    inside: float
    area: float
    top: np.ndarray


def smooth_gradient(model: nn.Module, clip: Tensor, *, copies: int, noise: float, seed: int) -> np.ndarray:
    """Mean absolute gradient of the output over noisy copies of a clip, summed over its channels.

    Args:
        model: clip ``(B, 3, F, H, W)`` -> ``(B,)``, in evaluation mode.
        clip: ``(3, F, H, W)`` normalised.
        copies: how many.
        noise: standard deviation, as a share of the clip's range.
        seed: of the noise.

    Returns:
        ``(F, H, W)`` float64, 0 or more.
    """
    generator = torch.Generator().manual_seed(seed)
    size, total = noise * float(clip.max() - clip.min()), np.zeros(clip.shape[1:], np.float64)
    for _ in range(copies):
        disturbed = clip + size * torch.randn(clip.shape, generator=generator).to(clip.device)
        with torch.enable_grad():
            disturbed.requires_grad_(True)
            gradient, = torch.autograd.grad(model(disturbed[None]).sum(), disturbed)
        total += gradient.abs().sum(0).double().cpu().numpy()
    return total / copies


def attended(gradient: np.ndarray, ventricle: np.ndarray, top: float = TOP) -> Attention:
    """How much of the attention on a frame the ventricle has.

    Args:
        gradient: ``(H, W)``, 0 or more.
        ventricle: ``(H, W)`` bool.
        top: share of the pixels that count as attended to; of equal ones the first.
    """
    count = max(1, round(top * gradient.size))
    best = np.zeros(gradient.size, bool)
    best[np.argsort(-gradient.ravel(), kind="stable")[:count]] = True
    best, total = best.reshape(gradient.shape), gradient.sum()
    pixels = int(ventricle.sum())
    return Attention(dice(best, ventricle), 2 * min(count, pixels) / (count + pixels), float(gradient[ventricle].sum() / total)
                     if total > 0 else np.nan, float(ventricle.mean()), best)
