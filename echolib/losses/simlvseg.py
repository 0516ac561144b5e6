"""Losses of both stages. Each takes logits or network output as it comes and computes in float32.

SimLVSeg eq. 1 (reconstruction), eq. 2, 3 and 6 (weak supervision: the Dice loss of the traced frame of every clip, then
the mean over the batch); the authors' program (Dice pooled over the batch); EchoNet-Dynamic's recipe (BCE summed).
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

#: px added to numerator and denominator of every Dice loss. An empty prediction of an empty trace then costs nothing and
#: has a gradient; on a ventricle of 850 px it moves the loss by less than 0.001.
SMOOTH = 1.0


def select_traced(logits: Tensor, position: Tensor) -> Tensor:
    """The traced frame of every clip (eq. 2: the other frames have no label, so no loss and no gradient).

    Args:
        logits: ``(B, 1, F, H, W)``.
        position: ``(B,)`` int64, the traced frame's place in its clip.

    Returns:
        ``(B, H, W)``.
    """
    return logits[torch.arange(len(logits), device=logits.device), 0, position]


def dice_frame(logits: Tensor, target: Tensor) -> Tensor:
    """Soft Dice loss of each frame, then the mean over the batch (eq. 3 and 6).

    Args:
        logits: ``(B, H, W)``.
        target: ``(B, H, W)`` bool.

    Returns:
        Scalar in [0, 1].
    """
    overlap, total = _areas(logits, target)
    return (1 - (2 * overlap + SMOOTH) / (total + SMOOTH)).mean()


def dice_batch(logits: Tensor, target: Tensor) -> Tensor:
    """Soft Dice loss of all pixels of the batch taken together, as the released program does: large ventricles weigh more.

    Arguments and result as :func:`dice_frame`.
    """
    overlap, total = _areas(logits, target)
    return 1 - (2 * overlap.sum() + SMOOTH) / (total.sum() + SMOOTH)


def bce_sum(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy summed over pixels and batch (EchoNet-Dynamic's DeepLabV3); shapes as :func:`dice_frame`."""
    return F.binary_cross_entropy_with_logits(logits.float(), target.float(), reduction="sum")


def reconstruction_mse(output: Tensor, clip: Tensor, target: Literal["clip", "first_channel"] = "clip") -> Tensor:
    """Mean squared error over **all** frames of the clip, masked or not (eq. 1).

    Args:
        output: ``(B, 3, F, H, W)`` for "clip", ``(B, 1, F, H, W)`` for "first_channel".
        clip: ``(B, 3, F, H, W)``, the clip before masking, on the scale that the network sees.
        target: "clip": all three channels (paper); "first_channel": channel 0 by a one-channel network (released).

    Raises:
        ValueError: the output has another shape than the target.
    """
    wanted = clip if target == "clip" else clip[:, :1]
    if output.shape != wanted.shape:
        raise ValueError(f"reconstruction of {target!r}: the network gave {tuple(output.shape)}, expected {tuple(wanted.shape)}")
    return F.mse_loss(output.float(), wanted.float())


def _areas(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Per frame, px: soft overlap, and predicted plus traced area."""
    probability, target = logits.float().sigmoid().flatten(1), target.float().flatten(1)
    return (probability * target).sum(1), probability.sum(1) + target.sum(1)


#: The segmentation losses by their name in a RunSpec.
SEGMENTATION = {"dice_frame": dice_frame, "dice_batch": dice_batch, "bce_sum": bce_sum}
