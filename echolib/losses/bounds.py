"""What is known of a frame that nobody traced: its ventricle is no larger than at end-diastole, no smaller than at end-systole.

Not from any of the papers. It needs no further label: both areas are those of the study's two tracings.
"""

from __future__ import annotations

import torch
from torch import Tensor


def area_bounds(logits: Tensor, least: Tensor, most: Tensor, counted: Tensor, margin: float = 0.1) -> Tensor:
    """How far the area of untraced frames lies outside what two tracings allow: mean over a clip's frames, then over the batch.

    A frame costs the part of the largest area by which its soft area (the sum of its probabilities) exceeds ``(1 + margin)
    most`` or falls short of ``(1 - margin) least``; nothing between them.

    Args:
        logits: ``(B, 1, F, H, W)``.
        least, most: ``(B,)`` px, smallest and largest traced area of the study; NaN where it is not known.
        counted: ``(B, F)`` bool, frames that are bounded.
        margin: share of the areas that is allowed beyond them: beats differ, and a tracing is not exact.

    Returns:
        Scalar, 0 or more; 0 where no frame is bounded.
    """
    known = torch.isfinite(least) & torch.isfinite(most) & (most > 0)
    counted = counted & known[:, None]
    least, most = (torch.where(known, bound, torch.ones_like(bound))[:, None] for bound in (least, most))
    area = logits[:, 0].float().sigmoid().sum((-2, -1))                                     # (B, F)
    beyond = (area - (1 + margin) * most).clamp(min=0) + ((1 - margin) * least - area).clamp(min=0)
    cost = torch.where(counted, beyond / most, torch.zeros_like(area))
    return (cost.sum(1) / counted.sum(1).clamp(min=1)).mean()
